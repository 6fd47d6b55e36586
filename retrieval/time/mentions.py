"""`TimeMention`: one time as a sentence names it, "since yesterday evening at about half past seven"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from .localtime import Clock, Stretch
from .reader import TimeReader
from .words import Term

_JOINED = re.compile(r"[ ,]*(?:(?:at|on|in|of|around|about|the) )*")
_BEFORE_IT = re.compile(
    r"\b(?:(?P<short>shortly|just|right|soon|immediately) )?"
    r"(?P<word>since|after|until|till|up to|before|by|from|between|more than|less than|within|during|on|in"
    r"|at(?: (?:the )?time(?: of)?)?)? ?(?P<about>(?:about|around|approximately|roughly|circa) )?(?:the )?$"
)
_TO = re.compile(r",? ?(?:and|to|until|till|through|up to|-|–|—|/)(?: at| about| around| the)* ?")
_RELATIONS = {"less than": "since", "by": "before", "more than": "before", "till": "until", "up to": "until"}
_RELATIONS |= {word: word for word in ("since", "after", "until", "before", "from", "between")}
_COLON = re.compile(r"\d+:\d\d(?::\d\d)?")


class TimeMention(NamedTuple):
    """A time, which may still lack its day if that stands elsewhere. It is named from `start` to before `end`.

    Attributes:
        relation: `since`, `after`, `until` or `before` it; `from` it `to` the next; `at` it; empty without such a word.
        short: only a little before or after it.
        about: not exactly at it.
        day_behind: its day stands after the clock, "after ten yesterday", so the span ends with that day.
    """

    start: int
    end: int
    relation: str = ""
    short: bool = False
    about: bool = False
    period: Stretch | None = None
    part: str = ""
    clock: Clock | None = None
    day_behind: bool = False

    @property
    def is_clock(self) -> bool:
        """Whether it is a point in time, and not a day or part of one."""
        return self.clock is not None or (self.period is not None and self.period.clock)


def read_mentions(sentence: str, terms: Sequence[Term], reader: TimeReader) -> list[TimeMention]:
    """The times that terms make up, in their order: "yesterday" and "at ten" are one.

    Raises:
        TimeSpanError: no calendar or clock shows a term.
    """
    found: list[TimeMention] = []
    for term in terms:
        new = _read(term, reader)
        between = sentence[found[-1].end : term.start].lower() if found else ""
        if found and _JOINED.fullmatch(between) and _complement(found[-1], new):
            found[-1] = _join(found[-1], new, about="about" in between or "around" in between)
        elif found and _TO.fullmatch(between) and _may_go_on(found[-1], between):
            found[-1] = found[-1]._replace(relation="from")
            found.append(new._replace(relation="to"))
        else:
            found.append(_take_relation(sentence, new, found[-1].end if found else 0))
    following = [*(m.relation for m in found[1:]), ""]
    settled = [m if then == "to" else _close(m) for m, then in zip(found, following, strict=False)]
    return [m for m in settled if m.relation or not _is_mere_number(sentence, m)]


def _read(term: Term, reader: TimeReader) -> TimeMention:
    if term.kind == "part":
        return TimeMention(term.start, term.end, part=term.text.removesuffix(" of").rpartition(" ")[2].lower())
    value = reader.read(term)
    if isinstance(value, Clock):
        return TimeMention(term.start, term.end, clock=value)
    return TimeMention(term.start, term.end, period=value)


def _complement(first: TimeMention, second: TimeMention) -> bool:
    """Whether one names the day and the other the time, or part, of it."""
    if any(m.period is not None and m.period.clock for m in (first, second)):
        return False
    return not ((first.period and second.period) or (first.part and second.part) or (first.clock and second.clock))


def _join(first: TimeMention, second: TimeMention, *, about: bool) -> TimeMention:
    return first._replace(
        end=second.end,
        about=first.about or about,
        period=first.period or second.period,
        part=first.part or second.part,
        clock=first.clock or second.clock,
        day_behind=first.clock is not None,
    )


def _may_go_on(first: TimeMention, between: str) -> bool:
    """Whether a span may go from this time to the next: "at two and at three" are two times."""
    if "and" in between:
        return first.relation in ("between", "from")
    return first.relation not in ("to", "until", "before")


def _take_relation(sentence: str, mention: TimeMention, behind: int) -> TimeMention:
    """The time with the words before it: "shortly after about"."""
    found = _BEFORE_IT.search(sentence.lower(), behind, mention.start)
    if found is None:
        return mention
    word = found["word"] or ""
    return mention._replace(
        start=found.end() - len(found[0].lstrip()),
        relation=_RELATIONS.get(word, "at" if word else ""),
        short=found["short"] is not None,
        about=found["about"] is not None,
    )


def _close(mention: TimeMention) -> TimeMention:
    """ "From" a time without an end is since it, and "between" is at it."""
    return mention._replace(relation={"from": "since", "between": "at"}.get(mention.relation, mention.relation))


def _is_mere_number(sentence: str, mention: TimeMention) -> bool:
    """Whether it is only digits, and no word says that they are a time: a display that shows 14:03."""
    digits = _COLON.fullmatch(sentence, mention.start, mention.end)
    return digits is not None and not mention.about
