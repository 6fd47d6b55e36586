"""What comes out of an inbox: lost times become gaps, forgotten frames are left out, and nothing changes its order."""

from __future__ import annotations

import msgspec
import pytest

from longwatch.daemon.capture.message import Frame, Gap, Message, SourceEnd, StillFrame
from longwatch.daemon.stream.arrivals import Arrivals
from longwatch.daemon.stream.lost_span import LostSpan
from longwatch.daemon.stream.stream_memory import StreamMemory

from ..memory.blocks import MORNING_NS, make_block
from .conftest import Filled

SECOND_NS = 1_000_000_000
CLIP = "/clip.mp4"


def at(second: float) -> int:
    return MORNING_NS + int(second * SECOND_NS)


def frame(second: float) -> Frame:
    return Frame(at(second), 1, 1, b"xyz", b"jpeg", 0, 0)


def still(second: float) -> StillFrame:
    return StillFrame(at(second), 0, 0)


def all_of(arrivals: Arrivals) -> list[Message]:
    return list(iter(arrivals.next, None))


def test_messages_come_in_order_and_one_that_is_put_back_comes_first(filled: Filled, memory: StreamMemory) -> None:
    arrivals = Arrivals("yard", filled(frame(1), still(2), frame(3)), memory)
    first = arrivals.next()
    assert first == frame(1)
    arrivals.put_back(first)
    assert all_of(arrivals) == [frame(1), still(2), frame(3)]


def test_the_frame_that_ends_a_lost_span_comes_behind_its_gap(filled: Filled, memory: StreamMemory) -> None:
    arrivals = Arrivals("yard", filled(frame(9), frame(10)), memory)
    arrivals.lost = LostSpan(at(1), "nobody looked")
    assert all_of(arrivals) == [Gap(at(1), at(9), "nobody looked"), frame(9), frame(10)]
    assert arrivals.lost is None


def test_a_lost_span_that_is_too_short_becomes_no_gap(filled: Filled, memory: StreamMemory) -> None:
    arrivals = Arrivals("yard", filled(frame(9)), memory)
    arrivals.lost = LostSpan(at(1), "nobody looked", least_ns=8 * SECOND_NS)
    assert all_of(arrivals) == [frame(9)]


def test_a_still_frame_behind_lost_ones_shows_what_the_newest_of_them_showed(
    filled: Filled, memory: StreamMemory
) -> None:
    arrivals = Arrivals("yard", filled(still(9)), memory)
    arrivals.lost = LostSpan(at(1), "no room", frame=frame(5))
    gap, shown = all_of(arrivals)
    assert gap == Gap(at(1), at(9), "no room")
    assert shown == msgspec.structs.replace(frame(5), utc_ns=at(9))


def test_a_gap_within_a_lost_span_is_part_of_it_and_a_clock_set_back_moves_its_start(
    filled: Filled, memory: StreamMemory
) -> None:
    set_back = Gap(at(-100), at(-100), "the clock was set back", -108 * SECOND_NS)
    arrivals = Arrivals("yard", filled(set_back, frame(-99)), memory)
    arrivals.lost = LostSpan(at(1), "no room")
    assert all_of(arrivals) == [Gap(at(-107), at(-99), "no room"), frame(-99)]


def test_a_recording_goes_on_behind_what_was_seen_and_a_camera_set_back_is_a_gap(
    filled: Filled, memory: StreamMemory
) -> None:
    recording = Arrivals("yard", filled(frame(3), frame(5), frame(9), url=CLIP), memory)
    recording.lost = LostSpan(at(5), "longwatch was not running", least_ns=60 * SECOND_NS)
    assert all_of(recording) == [frame(9)]
    camera = Arrivals("yard", filled(frame(1)), memory)
    camera.lost = LostSpan(at(5), "longwatch was not running")
    gap, shown = all_of(camera)
    assert isinstance(gap, Gap)
    assert (gap.start_ns, gap.end_ns, shown) == (at(1), at(1), frame(1))
    assert gap.reason.endswith("; the clock was set back by 4 s")


def test_without_room_frames_are_lost_from_the_newest_block_on_and_the_end_is_not(
    filled: Filled, memory: StreamMemory
) -> None:
    memory.add(make_block(1))
    arrivals = Arrivals("yard", filled(still(3), frame(4), frame(6), SourceEnd()), memory)
    arrivals.lose_all()
    assert memory.last is not None
    assert memory.last.end_ns == at(3), "a still frame needs no room"
    assert arrivals.lost == LostSpan(at(3), "the disk is too slow", frame=frame(6))
    arrivals._inbox.child.last_frame_ns = at(6)
    assert all_of(arrivals) == [Gap(at(3), at(6), "the disk is too slow"), SourceEnd()]


def test_without_room_a_recording_that_follows_no_clock_waits(filled: Filled, memory: StreamMemory) -> None:
    arrivals = Arrivals("yard", filled(frame(4), url=CLIP, pace="fast"), memory)
    arrivals.lose_all()
    assert arrivals.lost is None
    assert all_of(arrivals) == [frame(4)]


@pytest.mark.parametrize("url", ["rtsp://cam/", CLIP])
def test_forgotten_frames_do_not_come_nor_what_is_like_them_and_only_a_recording_notes_them(
    filled: Filled, memory: StreamMemory, url: str
) -> None:
    inbox = filled(frame(1), frame(2), still(4), frame(5), url=url)
    inbox.child.last_frame_ns = at(5)
    arrivals = Arrivals("yard", inbox, memory)
    arrivals.forget(at(2), at(3))
    assert all_of(arrivals) == [frame(1), frame(5)]
    assert memory.forgotten_ns == (at(2) if url == CLIP else 0)


def test_a_frame_that_came_after_the_order_is_not_forgotten(filled: Filled, memory: StreamMemory) -> None:
    arrivals = Arrivals("yard", filled(frame(9)), memory)
    arrivals.forget(at(8), at(60))  # no frame had come
    assert all_of(arrivals) == [frame(9)]


def test_a_lost_frame_that_is_forgotten_stands_in_for_no_other(filled: Filled, memory: StreamMemory) -> None:
    arrivals = Arrivals("yard", filled(still(9), frame(10)), memory)
    arrivals.lost = LostSpan(at(1), "no room", frame=frame(5))
    arrivals.forget(at(5), at(5))
    assert all_of(arrivals) == [Gap(at(1), at(10), "no room"), frame(10)]
