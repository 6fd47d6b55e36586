"""`Gate`: whether a frame shows anything new."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_THUMBNAIL = (64, 48)
_MOST_GAIN = 1.35  # a light that changed by more than this is news of its own


class Gate:
    """Compares a small copy of each frame with that of the last one kept.

    Averaging to a thumbnail hides sensor noise, and bringing the kept copy to the new one's median hides a light that
    changes slowly and everywhere. What enters, leaves or moves changes some spot by much. Only the kept copy is made
    brighter or darker, never the new one: at night that would make noise look like news.

    Args:
        levels: how many of 255 levels some spot must change by; 0 keeps every frame.
        keep_ns: a frame is kept at least this often, whatever it shows.
    """

    def __init__(self, levels: float, keep_ns: int) -> None:
        self._levels, self._keep_ns = levels, keep_ns
        self._kept: NDArray[np.uint8] | None = None
        self._kept_ns = 0
        self._kept_median = 1.0

    def reset(self) -> None:
        """The next frame is kept, whatever it shows."""
        self._kept = None

    def is_new(self, image: NDArray[np.uint8], time_ns: int) -> bool:
        """Whether the frame (BGR `[H, W, 3]`) shows something new. If so, later ones are compared with it.

        Args:
            time_ns: of a clock that nobody sets. With another, no frame might be new for hours.
        """
        small = cv2.resize(image, _THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        median = max(float(np.median(small)), 1.0)
        if self._kept is not None and time_ns - self._kept_ns < self._keep_ns:
            gain = min(max(median / self._kept_median, 1 / _MOST_GAIN), _MOST_GAIN)
            expected = cv2.convertScaleAbs(self._kept, alpha=gain)
            if cv2.norm(small, expected, cv2.NORM_INF) < self._levels:
                return False
        self._kept, self._kept_ns, self._kept_median = small, time_ns, median
        return True
