"""`StampedFrame`: a picture and when it was."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SECOND_NS = 1_000_000_000


class StampedFrame(NamedTuple):
    """BGR `[H, W, 3]`, UTC, the time since the source's second 0, and its number since the source was opened."""

    image: NDArray[np.uint8]
    utc_ns: int
    pts_ns: int
    sequence: int
