"""`Reference`: the time that a question is about, as its words say it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, tzinfo
from typing import NamedTuple

from ..errors import TimeSpanError
from .anchor import Anchor, find_clause, says_now
from .bounds import Bounds
from .localtime import LocalTime
from .mentions import TimeMention, read_mentions
from .reader import TimeReader
from .span import SECOND_NS, Span
from .words import find_terms

_MOST_TIMES = 16  # more are no question, and each takes a millisecond or more to read
_GAP = len(", until ")  # between two times that belong together


class Reference(NamedTuple):
    """What time a question is about.

    Attributes:
        span: the time that its words name, or None.
        words: those words, or empty.
        anchor: an event that the time is before, after or during; None where none is named.
        present: the words say that it is about now.
    """

    span: Span | None
    words: str
    anchor: Anchor | None
    present: bool


def understand(question: str, now_ns: int, zone: tzinfo = UTC) -> Reference:
    """Reads what time a question is about. Clock times are the latest in the past that clocks in `zone` showed.

    "at 14:03" is that minute, "at 14:03:20" that second and two on either side; "between 14:00 and 14:10" holds all
    of 14:10. A time that clocks showed twice is both.

    Raises:
        TimeSpanError: no clock or calendar shows it, it is in the future, the span ends before it begins, or the
            question names too many times.
    """
    sentence = _normalize(question)
    terms = find_terms(sentence)
    if len(terms) > _MOST_TIMES:
        raise TimeSpanError(f"the question names {len(terms)} times; name {_MOST_TIMES} at most")
    if not terms:
        event = find_clause(sentence, [])
        return Reference(None, "", event.anchor if event else None, says_now(sentence))
    reader = TimeReader(LocalTime(now_ns, zone))
    mentions = read_mentions(sentence, terms, reader)
    event = find_clause(sentence, [(mention.start, mention.end) for mention in mentions])
    if event is not None and any(m.is_clock and event.start <= m.start < event.end for m in mentions):
        # The clock time says when the event was: "after the van came at 14:05" is after 14:05.
        relation = {"during": "at"}.get(event.anchor.relation, event.anchor.relation)
        mentions = [m._replace(relation=relation) if event.start <= m.start < event.end else m for m in mentions]
        event = None
    words = _quote(sentence, mentions)
    span = Bounds(reader, words).span(mentions) if mentions else None
    return Reference(span, words, event.anchor if event else None, says_now(sentence))


def prepare() -> None:
    """Loads what the first question would otherwise wait for, a few tenths of a second."""
    understand("yesterday at noon", 1_700_000_000 * SECOND_NS)


def read_span(words: str, now_ns: int, zone: tzinfo = UTC) -> Span:
    """What words mean that are nothing but a time: "yesterday at 14:05".

    Raises:
        TimeSpanError: as for `understand`, or some of the words are not part of a time.
    """
    reference = understand(words, now_ns, zone)
    if reference.span is None or reference.words != _normalize(words):
        raise TimeSpanError(f"cannot read {words!r} as a time; try 14:05 or: yesterday at 14:05")
    return reference.span


def _normalize(text: str) -> str:
    return " ".join(text.replace("’", "'").split())


def _quote(sentence: str, mentions: Sequence[TimeMention]) -> str:
    """The words that name times, as they stand in the sentence; "…" is for longer words between them."""
    text, end = "", -1
    for mention in mentions:
        gap = sentence[end : mention.start] if end >= 0 else ""
        text += (gap if len(gap) <= _GAP else " … ") + sentence[mention.start : mention.end]
        end = mention.end
    return text
