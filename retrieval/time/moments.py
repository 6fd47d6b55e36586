"""`Moment`: what is said of one time in a sentence, "yesterday evening at about half past seven", and how it bounds."""

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


class Moment(NamedTuple):
    """A time, still without its day where that is said elsewhere. It stands from `start` to before `end`.

    Attributes:
        relation: `since`, `after`, `until` or `before` it; `from` it `to` the next; `at` it; empty without such a word.
        short: only a little before or after it.
        about: not exactly at it.
        day_behind: its day was said behind the clock, "after ten yesterday", and bounds it.
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
        """Whether it is a point in time, and no day or part of one."""
        return self.clock is not None or (self.period is not None and self.period.clock)


def moments(sentence: str, terms: Sequence[Term], reader: TimeReader) -> list[Moment]:
    """The moments that terms make up, in their order.

    Raises:
        TimeSpanError: a term is in no calendar or on no clock.
    """
    found: list[Moment] = []
    for term in terms:
        new = _read(term, reader)
        between = sentence[found[-1].end : term.start].lower() if found else ""
        if found and _JOINED.fullmatch(between) and _fit(found[-1], new):
            found[-1] = _join(found[-1], new, about="about" in between or "around" in between)
        elif found and _TO.fullmatch(between) and _opens(found[-1], between):
            found[-1] = found[-1]._replace(relation="from")
            found.append(new._replace(relation="to"))
        else:
            found.append(_related(sentence, new, found[-1].end if found else 0))
    following = [*(m.relation for m in found[1:]), ""]
    settled = [m if then == "to" else _alone(m) for m, then in zip(found, following, strict=False)]
    return [m for m in settled if m.relation or not _is_mere_number(sentence, m)]


def _read(term: Term, reader: TimeReader) -> Moment:
    if term.kind == "part":
        return Moment(term.start, term.end, part=term.text.removesuffix(" of").rpartition(" ")[2].lower())
    value = reader.read(term)
    if isinstance(value, Clock):
        return Moment(term.start, term.end, clock=value)
    return Moment(term.start, term.end, period=value)


def _fit(first: Moment, second: Moment) -> bool:
    """Whether one says the day and the other the time, or part, of it."""
    if any(m.period is not None and m.period.clock for m in (first, second)):
        return False
    return not ((first.period and second.period) or (first.part and second.part) or (first.clock and second.clock))


def _join(first: Moment, second: Moment, *, about: bool) -> Moment:
    return first._replace(
        end=second.end,
        about=first.about or about,
        period=first.period or second.period,
        part=first.part or second.part,
        clock=first.clock or second.clock,
        day_behind=first.clock is not None,
    )


def _opens(first: Moment, between: str) -> bool:
    """Whether a span may go on from a moment: "at two and at three" are two of them."""
    if "and" in between:
        return first.relation in ("between", "from")
    return first.relation not in ("to", "until", "before")


def _related(sentence: str, moment: Moment, behind: int) -> Moment:
    """With the words before it, "shortly after about", taken in."""
    found = _BEFORE_IT.search(sentence.lower(), behind, moment.start)
    if found is None:
        return moment
    word = found["word"] or ""
    return moment._replace(
        start=found.end() - len(found[0].lstrip()),
        relation=_RELATIONS.get(word, "at" if word else ""),
        short=found["short"] is not None,
        about=found["about"] is not None,
    )


def _alone(moment: Moment) -> Moment:
    """ "From" or "between" without an end."""
    return moment._replace(relation={"from": "since", "between": "at"}.get(moment.relation, moment.relation))


def _is_mere_number(sentence: str, moment: Moment) -> bool:
    """Whether it is digits that no word makes a time: a display that shows 14:03."""
    digits = _COLON.fullmatch(sentence, moment.start, moment.end)
    return digits is not None and not moment.about
