"""`Portion`: how many frames are encoded at once."""

from __future__ import annotations

_FRAMES_BEFORE_MORE = 256


class Portion:
    """Halved when it was too much for the device, and doubled again after many frames went well.

    Args:
        most: frames at once if there is room.
    """

    def __init__(self, most: int) -> None:
        self.frames = most
        self._most, self._went_well = most, 0

    def too_much(self, frames: int) -> bool:
        """So many were too many at once. Returns whether fewer can be tried."""
        self._went_well = 0
        self.frames = max(1, min(self.frames, frames) // 2)
        return frames > 1

    def went_well(self, frames: int) -> None:
        """So many were encoded."""
        self._went_well += frames
        if self._went_well >= _FRAMES_BEFORE_MORE:
            self._went_well = 0
            self.frames = min(self._most, 2 * self.frames)
