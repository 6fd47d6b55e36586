"""The messages between the daemon and a capture process: what to read, frames, the end, or what went wrong."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from ..errors import CaptureError
from .settings import SourceConfig
from .stamp import check_time


class CaptureTask(msgspec.Struct, frozen=True, array_like=True):
    """The daemon's first message: what to read, and from where on.

    Attributes:
        start_ns: UTC of second 0 of a file or scene.
        after_ns: how much of a file or scene was read before; only later frames are wanted. -1 for none.
    """

    config: SourceConfig
    start_ns: int
    after_ns: int


class Opening(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The process has imported what it needs, and now opens the source."""


class Frame(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A frame that shows something new.

    Attributes:
        pixels: BGR, row by row.
        picture: the same frame as a small JPEG.
        dropped: how many frames this process has dropped so far because nobody took them in time.
        pts_ns: time since the source's second 0, or since a camera was opened.
        arrived_ns: `ticks_ns` when the frame came; 0 if the source is read as fast as it can be.
        recorded: the frame's time is written in a recording or drawn with a scene; otherwise it is the machine's.
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
        """BGR `[H, W, 3]`: a copy, which may be written to."""
        return np.frombuffer(self.pixels, np.uint8).reshape(self.height, self.width, 3).copy()


class StillFrame(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A frame that shows nothing new. See `Frame`."""

    utc_ns: int
    dropped: int
    pts_ns: int
    arrived_ns: int = 0
    recorded: bool = False


class SourceEnd(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The last frame of a file or scene was taken."""


class SourceFailure(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The source cannot be read. `final` means that it makes no sense to try again."""

    reason: Annotated[str, Meta(max_length=1 << 14)]
    final: bool


class Gap(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A time with no video. It is reported when there is video again.

    Attributes:
        step_ns: by how much the clock was set during the gap. If it was set back, start and end are in the new time,
            so that the gap never ends before it begins.
    """

    start_ns: int
    end_ns: int
    reason: str
    step_ns: int = 0


ProcessMessage = Opening | Frame | StillFrame | SourceEnd | SourceFailure
Message = ProcessMessage | Gap


def decode(body: bytearray) -> ProcessMessage:
    """Reads a message of a capture process, which a hostile camera may control.

    Raises:
        CaptureError: it is no message, or makes no sense.
    """
    try:
        message: ProcessMessage = msgspec.msgpack.decode(body, type=ProcessMessage)
    except msgspec.MsgspecError as exc:
        raise CaptureError(f"what is no message ({exc})") from exc
    if isinstance(message, Frame | StillFrame):
        check_time(message.utc_ns, "a frame that")
    if isinstance(message, Frame) and not 0 < message.height * message.width * 3 == len(message.pixels):
        raise CaptureError(f"{len(message.pixels)} bytes for {message.width} x {message.height} pixels")
    return message
