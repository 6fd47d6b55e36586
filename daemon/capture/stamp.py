"""`StampedFrame`: a picture and its time; and which times a frame may have."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import CaptureError

SECOND_NS = 1_000_000_000
_TICKS = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # the first is Linux's
_BEYOND_NS = 9_214_646_400 * SECOND_NS  # 2262-01-01; nanoseconds fit 64 bits for three months more


class StampedFrame(NamedTuple):
    """BGR `[H, W, 3]`, UTC, and the time since the source's second 0. For the others see `Frame`."""

    image: NDArray[np.uint8]
    utc_ns: int
    pts_ns: int
    arrived_ns: int = 0
    recorded: bool = False


def ticks_ns() -> int:
    """A clock that nobody sets, that goes on while the machine sleeps, and that is the same in every process."""
    return time.clock_gettime_ns(_TICKS)


def check_time(time_ns: int, what: str) -> int:
    """The time itself, if memory, files and clocks can hold it.

    Raises:
        CaptureError: it is before 1970 or not before 2262.
    """
    if not 0 <= time_ns < _BEYOND_NS:
        raise CaptureError(f"{what} is before 1970 or after 2261; times must lie between")
    return time_ns


def parse_start(text: str, what: str) -> int:
    """UTC nanoseconds of `2026-03-02T14:00:00`; a time without an offset is UTC.

    Args:
        what: begins the sentence of an error.

    Raises:
        CaptureError: it is not a time that a frame may have.
    """
    try:
        start = datetime.fromisoformat(text)
        start = start.replace(tzinfo=start.tzinfo or UTC)
        return check_time(int(start.timestamp()) * SECOND_NS, f"{what} {text!r}")
    except (ValueError, OverflowError) as exc:
        raise CaptureError(f"{what} {text!r} is no time; write it as 2026-03-02T14:00:00") from exc
