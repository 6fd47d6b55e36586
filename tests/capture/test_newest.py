"""The slot for the newest frame: drops rather than lags."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from longwatch.daemon.capture.newest import EveryFrame, NewestFrame
from longwatch.daemon.capture.stamp import StampedFrame
from longwatch.daemon.errors import CaptureError


class Burst:
    """A live source that sends some frames at once, then waits for leave to send one more, and breaks."""

    live = True

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self.sent, self.go_on = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[StampedFrame]:
        for number in range(self._frames + 1):
            if number == self._frames:
                self.sent.set()
                self.go_on.wait(5)
            yield StampedFrame(np.zeros((2, 2, 3), np.uint8), number, number)
        raise CaptureError("broke")

    def close(self) -> None:
        """Nothing to let go."""


def test_only_the_newest_frame_is_handed_over_and_the_others_are_counted() -> None:
    source = Burst(100)
    slot = NewestFrame(source)
    assert source.sent.wait(5)
    newest = slot.take()
    assert newest is not None
    assert (newest.pts_ns, slot.dropped) == (99, 99)
    source.go_on.set()
    last = slot.take()
    assert last is not None
    assert (last.pts_ns, slot.dropped) == (100, 99)
    with pytest.raises(CaptureError, match="broke"):
        slot.take()


def test_a_recording_waits_for_whoever_reads_it() -> None:
    source = Burst(3)
    source.go_on.set()
    frames = EveryFrame(source)
    taken = [frames.take() for _ in range(4)]
    assert [frame and frame.pts_ns for frame in taken] == [0, 1, 2, 3]
    with pytest.raises(CaptureError, match="broke"):
        frames.take()
