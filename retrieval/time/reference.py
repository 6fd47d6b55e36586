"""`Reference`: the time that a question is about, as its words have it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, tzinfo
from typing import NamedTuple

from ..errors import TimeSpanError
from .anchor import Anchor, clause, says_now
from .bounds import Bounds
from .localtime import LocalTime
from .moments import Moment, moments
from .reader import TimeReader
from .span import SECOND_NS, Span
from .words import terms

_MOST_TIMES = 16  # more are no question, and each takes a millisecond or more to read
_GAP = len(", until ")  # between two times that belong together


class Reference(NamedTuple):
    """What time a question is about.

    Attributes:
        span: the time that its words name, or None.
        words: those words, or empty.
        anchor: an event before, after or during which it is, or None.
        present: the words say that it is about now.
    """

    span: Span | None
    words: str
    anchor: Anchor | None
    present: bool


def understand(question: str, now_ns: int, zone: tzinfo = UTC) -> Reference:
    """Reads what time a question is about; wall-clock times are those of `zone`, the latest that have been.

    "at 14:03" is that minute, "at 14:03:20" that second and two on either side; "between 14:00 and 14:10" holds all
    of 14:10. A time that clocks showed twice is both.

    Raises:
        TimeSpanError: no clock or calendar shows it, it has not been yet, or the span ends before it begins; or there
            are too many times in it.
    """
    sentence = _plain(question)
    named = terms(sentence)
    if len(named) > _MOST_TIMES:
        raise TimeSpanError(f"the question names {len(named)} times; name {_MOST_TIMES} at most")
    reader = TimeReader(LocalTime(now_ns, zone))
    said = moments(sentence, named, reader)
    event = clause(sentence, [(moment.start, moment.end) for moment in said])
    if event is not None and any(m.is_clock and event.start <= m.start < event.end for m in said):
        # "after the van came at 14:05" needs no second look.
        relation = {"during": "at"}.get(event.anchor.relation, event.anchor.relation)
        said = [m._replace(relation=relation) if event.start <= m.start < event.end else m for m in said]
        event = None
    words = _words(sentence, said)
    span = Bounds(reader, words).span(said) if said else None
    return Reference(span, words, event.anchor if event else None, says_now(sentence))


def prepare() -> None:
    """Loads what the first question would otherwise wait for, a few tenths of a second."""
    understand("yesterday at noon", 1_700_000_000 * SECOND_NS)


def named_span(words: str, now_ns: int, zone: tzinfo = UTC) -> Span:
    """What words mean that are nothing but a time: "yesterday at 14:05".

    Raises:
        TimeSpanError: as for `understand`, or some of the words are none that name a time.
    """
    reference = understand(words, now_ns, zone)
    if reference.span is None or reference.words != _plain(words):
        raise TimeSpanError(f"{words!r} is not all a time; write one as in a question: yesterday at 14:05")
    return reference.span


def _plain(text: str) -> str:
    return " ".join(text.replace("’", "'").split())


def _words(sentence: str, said: Sequence[Moment]) -> str:
    text, end = "", -1
    for moment in said:
        gap = sentence[end : moment.start] if end >= 0 else ""
        text += (gap if len(gap) <= _GAP else " … ") + sentence[moment.start : moment.end]
        end = moment.end
    return text
