"""A stream's two newest times, and its gaps."""

from __future__ import annotations

import time
from dataclasses import replace

from longwatch.daemon.capture.message import Frame
from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.protocol import GapSpan
from longwatch.daemon.stream.arrivals import Arrivals
from longwatch.daemon.stream.inbox import Inbox
from longwatch.daemon.stream.lost_span import LostSpan
from longwatch.daemon.stream.stream_memory import StreamMemory
from longwatch.daemon.stream.timeline import Timeline
from longwatch.retrieval.time.span import Span

from ..memory.blocks import MORNING_NS, make_block
from .conftest import Filled

SECOND_NS = 1_000_000_000
CAMERA, SCENE = "rtsp://cam/", "scene://?seed=3&start=2026-03-02T08:00:00"


def at(second: int) -> int:
    return MORNING_NS + second * SECOND_NS


def timeline_of(inbox: Inbox, memory: StreamMemory, url: str = CAMERA) -> tuple[Timeline, Arrivals]:
    arrivals = Arrivals("yard", inbox, memory)
    return Timeline("yard", SourceConfig(url=url), inbox, arrivals, memory), arrivals


def test_now_is_the_newest_frames_time_also_where_the_clock_was_set_back(filled: Filled, memory: StreamMemory) -> None:
    inbox = filled()
    timeline, _ = timeline_of(inbox, memory)
    assert timeline.now_ns == 0
    memory.add(make_block(8))
    memory.add(make_block(9))
    assert timeline.now_ns == at(9)
    memory.forget([9])
    assert timeline.now_ns == at(8), "a newest block that was forgotten leaves the one before it"
    inbox.child.last_frame_ns = at(3)
    assert timeline.now_ns == at(3)


def test_a_stream_goes_on_behind_its_newest_block_or_what_was_forgotten_behind_that(
    filled: Filled, memory: StreamMemory
) -> None:
    timeline, arrivals = timeline_of(filled(), memory)
    timeline.go_on("longwatch was not running")
    assert arrivals.lost is None, "nothing was seen before"
    memory.add(make_block(9))
    timeline.go_on("longwatch was not running")
    assert arrivals.lost == LostSpan(at(9), "longwatch was not running", 7 * SECOND_NS)
    memory.note_forgotten(at(20))
    timeline.go_on("longwatch was not running")
    assert arrivals.lost is not None
    assert arrivals.lost.since_ns == at(20)


def test_a_recording_may_be_of_a_time_to_come_and_a_camera_cannot_have_seen_it(
    filled: Filled, memory: StreamMemory
) -> None:
    memory.add(make_block(9))
    memory.note_forgotten(time.time_ns() + 3600 * SECOND_NS)
    since = []
    for url in (CAMERA, SCENE):
        timeline, arrivals = timeline_of(filled(url=url), memory, url)
        memory.book.keep_note("yard", "last read", b"")
        timeline.go_on("longwatch was not running")
        assert arrivals.lost is not None
        since.append(arrivals.lost.since_ns)
    assert since == [at(9), memory.forgotten_ns]


def test_a_lost_span_is_a_gap_up_to_now_once_a_frame_was_lost_and_stays_open_in_the_status(
    filled: Filled, memory: StreamMemory
) -> None:
    memory.add(replace(make_block(1), gap=True))
    inbox = filled()
    timeline, arrivals = timeline_of(inbox, memory)
    known = GapSpan(start_ns=at(1), end_ns=at(1))
    inbox.child.last_frame_ns = at(9)
    arrivals.lost = LostSpan(at(5), "no room")
    assert timeline.gaps(None) == timeline.open_gaps() == [known]
    arrivals.lost = LostSpan(at(5), "no room", frame=Frame(at(9), 1, 1, b"xyz", b"", 0, 0))
    assert timeline.gaps(None) == [known, GapSpan(start_ns=at(5), end_ns=at(9))]
    assert timeline.gaps(Span(at(6), at(7))) == [GapSpan(start_ns=at(5), end_ns=at(9))]
    assert timeline.gaps(Span(at(1), at(4))) == [known]
    assert timeline.open_gaps() == [known, GapSpan(start_ns=at(5), end_ns=0)]
