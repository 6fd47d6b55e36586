"""What the daemon and a capture process tell each other: where to begin, frames, times, the end, or what went wrong."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from .settings import SourceConfig


class Begin(msgspec.Struct, frozen=True, array_like=True):
    """The daemon's first message.

    Attributes:
        start_ns: UTC time of second 0 of a file or scene.
        after_ns: how much of a file or scene has been read before; only later frames are wanted. -1 for none.
    """

    config: SourceConfig
    start_ns: int
    after_ns: int


class Opening(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The process has imported what it needs, and opens the source now."""


class Frame(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A frame that shows something new.

    Attributes:
        pixels: BGR, row by row.
        picture: the same as a JPEG, made smaller.
        dropped: frames that this process let go because nobody took them in time.
        pts_ns: time since the source's second 0, or since a camera was opened.
        arrived_ns: what `ticks_ns` said as it came; 0 where it was read as fast as it could be.
        recorded: its time is written in a recording or drawn with a scene; else it is the machine's.
    """

    utc_ns: int
    height: int
    width: int
    pixels: bytes
    picture: bytes
    dropped: int
    pts_ns: int
    arrived_ns: int = 0
    recorded: bool = False

    @property
    def image(self) -> NDArray[np.uint8]:
        """BGR `[H, W, 3]`: a copy of its own, which may be written to."""
        return np.frombuffer(self.pixels, np.uint8).reshape(self.height, self.width, 3).copy()


class Still(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A frame that shows nothing new. See `Frame`."""

    utc_ns: int
    dropped: int
    pts_ns: int
    arrived_ns: int = 0
    recorded: bool = False


class Ended(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The last frame of a file or scene was taken."""


class Failed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The source cannot be read. `final` means that trying again is of no use."""

    reason: Annotated[str, Meta(max_length=1 << 14)]
    final: bool


class Gap(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A time with no video, reported when there is video again.

    Attributes:
        step_ns: by how much the clock was set in it. Where it was set back, the gap is told in the time of the clock
            as it is now, so that it never ends before it begins.
    """

    start_ns: int
    end_ns: int
    reason: str
    step_ns: int = 0


Sent = Opening | Frame | Still | Ended | Failed  # by a capture process
Message = Sent | Gap
