"""Frames that cannot be encoded: fewer at once where memory is short, a gap with the reason, and watching goes on."""

from __future__ import annotations

import gc
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from longwatch.daemon.capture.message import Frame, StillFrame
from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.errors import DeviceFull
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.daemon.stream.maker import StreamMaker, make_tiers
from longwatch.daemon.stream.portion import Portion
from longwatch.daemon.stream.stream import Stream
from longwatch.memory.settings import MemoryConfig
from longwatch.memory.store import Store
from longwatch.retrieval.settings import RetrievalConfig

SECOND_NS = 1_000_000_000
SIDE = 4000  # pixels; a frame is 48 MB
URL = "scene://?seed=2&minutes=0.2&start=2026-03-02T14:00:00"


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[Stream]:
    """A stream of the embedded model; its frames are what a test holds out to it."""
    model = VideoLM.load(ModelConfig(device="cpu", threads=1))
    config = MemoryConfig(folder=str(tmp_path / "store"), codec="int4", ram_bytes=1 << 28, map_bytes=1 << 28)
    store = Store(config)
    maker = StreamMaker(model, make_tiers(model, store, config), RetrievalConfig(retriever="rekv-shared"), heads=None)
    yield maker.make("yard", SourceConfig(url=URL, pace="fast"))
    store.close()


def bring(stream: Stream, first: int, count: int, side: int = SIDE) -> None:
    """Puts frames, one a second, where the capture process's arrive."""
    for number in range(first, first + count):
        pixels = np.full(side * side * 3, number, np.uint8).tobytes()
        stream._intake.inbox._messages._most_bytes = 1 << 40
        stream._intake.inbox._messages.put(Frame(at(number), side, side, pixels, b"jpeg", 0, 0), 0)


def at(number: int) -> int:
    return 1_772_460_000 * SECOND_NS + number * SECOND_NS


def step_all(stream: Stream) -> None:
    while stream.step():
        pass


@contextmanager
def memory_left(some_bytes: int) -> Iterator[None]:
    """This process may take no more than so many bytes than it has."""
    gc.collect()  # what goes later would be room that was not counted
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + some_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def kept(stream: Stream) -> list[tuple[int, bool]]:
    """Second, and whether it is a gap, of each block."""
    return [((info.start_ns - at(0)) // SECOND_NS, info.gap) for info in stream.retriever.index.infos()]


def test_where_a_chunk_is_too_much_fewer_frames_are_encoded_at_once_and_none_is_lost(stream: Stream) -> None:
    bring(stream, 0, 8)
    with memory_left(200 << 20):
        step_all(stream)
    assert kept(stream) == [(second, False) for second in range(8)]
    assert stream._intake.encoder._portion.frames < 8
    assert stream.status().last_error == ""
    assert len(stream.window.blocks) == 8 or stream.window.tokens <= stream.window.window_tokens


def test_where_not_one_frame_fits_they_are_one_gap_with_the_reason_and_then_watching_goes_on(stream: Stream) -> None:
    bring(stream, 0, 2, side=64)
    stream.step()
    bring(stream, 2, 2, side=9000)
    with memory_left(20 << 20), pytest.raises(DeviceFull, match="no room on the device for 1 frame "):
        stream.step()
    status = stream.status()
    assert status.last_error.startswith("nothing is kept: frames could not be encoded: no room on the device")
    assert status.gaps[-1].end_ns == 0
    bring(stream, 6, 2, side=64)
    step_all(stream)
    assert kept(stream) == [(0, False), (1, False), (1, True), (6, False), (7, False)]
    [gap] = stream.gaps(None)
    assert (gap.start_ns, gap.end_ns) == (at(1), at(6))
    assert stream.status().last_error == ""
    held = [block.block_id for block in stream.window.blocks]
    assert held == [info.block_id for info in stream.retriever.index.newest(len(held))]


def test_an_error_that_nobody_foresaw_loses_no_frame_silently(stream: Stream) -> None:
    bring(stream, 0, 1, side=64)
    stream.step()
    for number in (1, 2):
        stream._intake.inbox._messages.put(Frame(at(number), 64, 64, b"too few", b"jpeg", 0, 0), 0)
        with pytest.raises(ValueError, match="reshape"):
            step_all(stream)
        assert "frames could not be encoded: cannot reshape" in stream.status().last_error
    bring(stream, 3, 1, side=64)
    step_all(stream)
    assert kept(stream) == [(0, False), (0, True), (3, False)]
    [gap] = stream.gaps(None)
    assert (gap.start_ns, gap.end_ns) == (at(0), at(3))


def test_no_block_ends_before_it_begins_where_the_clock_is_turned_back_a_little(stream: Stream) -> None:
    bring(stream, 0, 1, side=64)
    for end_ns in (at(0) - SECOND_NS // 4, at(1), at(1) - SECOND_NS // 4):
        stream._intake.inbox._messages.put(StillFrame(end_ns, 0, 0), 0)
    step_all(stream)
    (info,) = stream.retriever.index.infos()
    assert (info.start_ns, info.end_ns) == (at(0), at(1))


def test_frames_on_their_way_are_forgotten_with_their_time_and_what_is_like_them_is_not_taken_for_others(
    stream: Stream,
) -> None:
    bring(stream, 0, 1, side=64)
    step_all(stream)
    bring(stream, 1, 3, side=64)
    stream._intake.inbox._messages.put(StillFrame(at(4), 0, 0), 0)
    stream._intake.inbox.child.last_frame_ns = at(4)
    stream.forget_arrivals(at(2), at(3))
    step_all(stream)
    assert kept(stream) == [(0, False), (1, False)]
    stream._intake.inbox._messages.put(StillFrame(at(5), 0, 0), 0)
    bring(stream, 6, 1, side=64)
    stream._intake.inbox._messages.put(StillFrame(at(7), 0, 0), 0)
    stream.forget_arrivals(at(8), at(60))
    bring(stream, 9, 1, side=64)  # came after the order
    step_all(stream)
    assert kept(stream) == [(0, False), (1, False), (6, False), (9, False)]
    assert [(info.end_ns - at(0)) // SECOND_NS for info in stream.retriever.index.infos()] == [0, 1, 7, 9]
    assert stream._memory.forgotten_ns == at(3), "a restart would read them again"


def test_a_lost_frame_is_forgotten_with_its_time_and_its_gap_stays(stream: Stream) -> None:
    bring(stream, 0, 1, side=64)
    step_all(stream)
    for message in (Frame(at(1), 64, 64, b"too few", b"jpeg", 0, 0), Frame(at(2), 64, 64, b"too few", b"jpeg", 0, 0)):
        stream._intake.inbox._messages.put(message, 0)
    with pytest.raises(ValueError, match="reshape"):
        step_all(stream)
    stream.forget_arrivals(at(1), at(2))
    stream._intake.inbox.child.last_frame_ns = at(3)
    stream._intake.inbox._messages.put(StillFrame(at(3), 0, 0), 0)
    bring(stream, 4, 1, side=64)
    step_all(stream)
    assert kept(stream) == [(0, False), (0, True), (4, False)]


def test_a_portion_is_halved_to_one_and_grows_again_when_all_goes_well() -> None:
    portion = Portion(8)
    assert [portion.too_much(portion.frames) for _ in range(4)] == [True, True, True, False]
    assert portion.frames == 1
    sizes = []
    for _ in range(1000):
        portion.went_well(portion.frames)
        sizes.append(portion.frames)
    assert sorted(set(sizes)) == [1, 2, 4, 8]
