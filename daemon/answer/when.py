"""`When`: the time that a question is about, an event that it names looked up."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from datetime import datetime, tzinfo
from functools import partial
from typing import Any, NamedTuple, TypeVar

from ...retrieval.retrievers.retriever import Hit
from ...retrieval.time.anchor import Anchor
from ...retrieval.time.reference import named_span, understand
from ...retrieval.time.span import SECOND_NS, Span
from ..protocol import Ask
from ..stream.stream import Stream
from .elsewhere import Elsewhere
from .recall import Recall

AROUND_NS = 300 * SECOND_NS  # how far "before the van came" reaches
_VISIT_NS = 30 * SECOND_NS  # hits that lie closer together show one event
_LOOKED_AT = 8
_READING_SECONDS = 10.0  # a hundred times what the longest question takes
_T = TypeVar("_T")


class When(NamedTuple):
    """What time a question is about.

    Attributes:
        question: as the model is asked it, an event in it replaced by the time at which it was.
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


def when(request: Ask, stream: Stream, recall: Recall) -> Generator[Elsewhere[Any] | None, None, When]:
    """The time that the client gave, in numbers or words, else what the question says.

    Words are read on another thread: dates in words, and patterns over a long text, take time.

    Raises:
        TimeSpanError: it is impossible.
        QuestionRefused: its words took too long to read.
    """
    question = request.question
    if request.since_ns is not None or request.until_ns is not None:
        return When(question, Span(request.since_ns, request.until_ns))
    if request.time:
        span = yield from _elsewhere(partial(named_span, request.time, stream.now_ns, stream.zone))
        return When(question, span, request.time)
    read = yield from _elsewhere(partial(understand, question, stream.now_ns, stream.zone))
    if read.anchor is None:
        return When(question, read.span, read.words, present=read.present and read.span is None)
    seen = _visit((yield from recall.rank(read.anchor.event, read.span)))
    if seen is None:
        return When(question, read.span, read.words, read.anchor.event)
    span = _beside(read.anchor, seen)
    between = " and ".join(clock(time_ns, stream.zone)[11:] for time_ns in span if time_ns is not None)
    clause = re.compile(rf"\b\w+ {re.escape(read.anchor.event)}", re.IGNORECASE)
    return When(clause.sub(f"between {between}", question), span, read.words, read.anchor.event, seen)


def _elsewhere(work: Callable[[], _T]) -> Generator[Elsewhere[Any], None, _T]:
    too_long = f"the time in the question was not read within {_READING_SECONDS:.0f} s; give it as since and until"
    return Elsewhere(work, seconds=_READING_SECONDS, too_long=too_long).result()


def clock(time_ns: int, zone: tzinfo) -> str:
    """`2026-03-02 14:03:20`."""
    return datetime.fromtimestamp(time_ns // SECOND_NS, zone).strftime("%Y-%m-%d %H:%M:%S")


def _visit(hits: list[Hit]) -> Span | None:
    """The time around the best hit in which hits follow each other closely: the thing was there all the while."""
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


def _beside(anchor: Anchor, seen: Span) -> Span:
    assert seen.since_ns is not None, "an event has a beginning"
    assert seen.until_ns is not None, "and an end"
    if anchor.relation == "before":
        return Span(max(0, seen.since_ns - AROUND_NS), max(0, seen.since_ns - 1))
    if anchor.relation == "after":
        return Span(seen.until_ns + 1, seen.until_ns + AROUND_NS)
    return seen
