"""What a capture process tells the daemon: frames, times, the end, or what went wrong."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray


class Frame(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A frame that shows something new."""

    utc_ns: int
    height: int
    width: int
    pixels: bytes
    picture: bytes
    dropped: int

    @property
    def image(self) -> NDArray[np.uint8]:
        """BGR `[H, W, 3]`, read-only no longer: a copy of its own."""
        return np.frombuffer(self.pixels, np.uint8).reshape(self.height, self.width, 3).copy()


class Still(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A frame that shows nothing new."""

    utc_ns: int
    dropped: int


class Ended(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The last frame of a file or scene was taken."""


class Failed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The source cannot be read. `final` means that trying again is of no use."""

    reason: str
    final: bool


class Gap(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A time with no video, reported when there is video again."""

    start_ns: int
    end_ns: int
    reason: str


Message = Frame | Still | Ended | Failed | Gap
