"""`Gate`: whether a frame shows anything new."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_THUMBNAIL = (64, 48)


class Gate:
    """Compares a small copy of each frame with that of the last one kept.

    Averaging to a thumbnail hides sensor noise, and dividing by the picture's own median hides a light that changes
    everywhere at once; what enters, leaves or moves changes some spot by much.

    Args:
        levels: how many of 255 levels some spot must change by; 0 keeps every frame.
        keep_ns: a frame is kept at least this often, whatever it shows.
    """

    def __init__(self, levels: float, keep_ns: int) -> None:
        self._levels, self._keep_ns = levels, keep_ns
        self._kept: NDArray[np.float32] | None = None
        self._kept_ns = 0

    def novel(self, image: NDArray[np.uint8], time_ns: int) -> bool:
        """Whether to keep the frame (BGR `[H, W, 3]`); if so, later ones are compared with it."""
        small = cv2.resize(image, _THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
        small *= 128.0 / max(float(np.median(small)), 1.0)
        if (
            self._kept is not None
            and time_ns - self._kept_ns < self._keep_ns
            and float(np.abs(small - self._kept).max()) < self._levels
        ):
            return False
        self._kept, self._kept_ns = small, time_ns
        return True
