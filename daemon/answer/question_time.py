"""`QuestionTime`: the time that a question is about. If it names an event, that is looked up first."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from datetime import datetime, tzinfo
from functools import partial
from typing import Any, NamedTuple, TypeVar

from ...memory.block import BlockInfo
from ...retrieval.retrievers.retriever import Hit
from ...retrieval.steps import Steps
from ...retrieval.time.anchor import Anchor
from ...retrieval.time.reference import read_span, understand
from ...retrieval.time.span import SECOND_NS, Span
from ..protocol import Ask
from ..stream.stream import Stream
from .background import BackgroundWork

AROUND_NS = 300 * SECOND_NS  # how far "before the van came" reaches
_VISIT_NS = 30 * SECOND_NS  # hits that lie closer together show one event
_LOOKED_AT = 8
_READING_SECONDS = 10.0  # a hundred times what the longest question takes
_T = TypeVar("_T")


class QuestionTime(NamedTuple):
    """What time a question is about.

    Attributes:
        question: as the model is asked it. Where it named an event, it now names the time of that event.
        span: None is any time.
        words: that were read as a time, or empty.
        event: that was looked up, or empty; `event_span` is when it was, or None where nothing was found.
        present: the words say that it is about now.
    """

    question: str
    span: Span | None
    words: str = ""
    event: str = ""
    event_span: Span | None = None
    present: bool = False

    def touches(self, info: BlockInfo) -> bool:
        """Whether a block shows something of that time."""
        return self.span is None or self.span.touches(info.start_ns, info.end_ns)


def read_time(
    request: Ask, stream: Stream, look_up: Callable[[str, Span | None], Steps[list[Hit]]]
) -> Generator[BackgroundWork[Any] | None, None, QuestionTime]:
    """The time that the client gave, in numbers or words, else what the question says.

    Words are read on another thread: dates in words, and patterns over a long text, take time.

    Args:
        look_up: ranks the blocks that show an event within a span, best first.

    Raises:
        TimeSpanError: it is impossible.
        QuestionRefused: its words took too long to read.
    """
    question = request.question
    if request.since_ns is not None or request.until_ns is not None:
        return QuestionTime(question, Span(request.since_ns, request.until_ns))
    if request.time:
        span = yield from _read_beside(partial(read_span, request.time, stream.now_ns, stream.zone))
        return QuestionTime(question, span, request.time)
    read = yield from _read_beside(partial(understand, question, stream.now_ns, stream.zone))
    if read.anchor is None:
        return QuestionTime(question, read.span, read.words, present=read.present and read.span is None)
    seen = _span_visit((yield from look_up(read.anchor.event, read.span)))
    if seen is None:
        return QuestionTime(question, read.span, read.words, read.anchor.event)
    span = _resolve_anchor(read.anchor, seen)
    between = " and ".join(format_time(time_ns, stream.zone)[11:] for time_ns in span if time_ns is not None)
    clause = re.compile(rf"\b\w+ {re.escape(read.anchor.event)}", re.IGNORECASE)
    return QuestionTime(clause.sub(f"between {between}", question), span, read.words, read.anchor.event, seen)


def format_time(time_ns: int, zone: tzinfo) -> str:
    """`2026-03-02 14:03:20`."""
    return datetime.fromtimestamp(time_ns // SECOND_NS, zone).strftime("%Y-%m-%d %H:%M:%S")


def _read_beside(work: Callable[[], _T]) -> Generator[BackgroundWork[Any], None, _T]:
    too_long = f"the time in the question was not read within {_READING_SECONDS:.0f} s; give it as since and until"
    return BackgroundWork(work, seconds=_READING_SECONDS, too_long=too_long).result()


def _span_visit(hits: list[Hit]) -> Span | None:
    """When the thing was there: from the best hit as far as other hits follow one another closely.

    best hit ■, others □:      □        □ □ □ ■ □ □           □
                                       └──────────┘ no two more than 30 s apart
    """
    if not hits:
        return None
    best = hits[0].info
    near = sorted((hit.info for hit in hits[:_LOOKED_AT]), key=lambda info: info.start_ns)
    since_ns, until_ns = best.start_ns, best.end_ns
    for info in near:
        if info.start_ns >= since_ns and info.start_ns - until_ns <= _VISIT_NS:
            until_ns = max(until_ns, info.end_ns)
    for info in reversed(near):
        if info.end_ns <= until_ns and since_ns - info.end_ns <= _VISIT_NS:
            since_ns = min(since_ns, info.start_ns)
    return Span(since_ns, until_ns)


def _resolve_anchor(anchor: Anchor, seen: Span) -> Span:
    """The span before, after or during an event."""
    assert seen.since_ns is not None, "an event has a beginning"
    assert seen.until_ns is not None, "an event has an end"
    if anchor.relation == "before":
        return Span(max(0, seen.since_ns - AROUND_NS), max(0, seen.since_ns - 1))
    if anchor.relation == "after":
        return Span(seen.until_ns + 1, seen.until_ns + AROUND_NS)
    return seen
