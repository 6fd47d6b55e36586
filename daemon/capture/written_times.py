"""`WrittenTimes`: the times that are written in a recording, corrected so that they rise."""

from __future__ import annotations

import math

from .stamp import SECOND_NS

_OVER_NS = SECOND_NS


class WrittenTimes:
    """Gives each frame of a recording a time behind that of the frame before it, from 0 on.

    A time that rises is taken as it is written, however far it leaps. If it steps back

        by less than a second, it is out of order, or jitter. The frame stands half a frame behind the one before,
            and so do those that follow, until the written times are ahead again. Nothing is shifted for good;
        by more, the times start over, as in a second piece in the same file. This time and all that follow are shifted,
            so that they go on one frame behind the last.

    If no time has ever risen, none is written. Then frames stand one frame apart.

    Args:
        frame_ns: from one frame to the next, as the file's head says.
    """

    def __init__(self, frame_ns: int) -> None:
        self._frame_ns = frame_ns
        self._last_ns, self._shift_ns = -1, 0
        self._first_written_ns: int | None = None
        self._risen = False

    def take(self, written_ms: float) -> int:
        """The next frame's time in nanoseconds."""
        written_ns = round(written_ms * 1e6) if math.isfinite(written_ms) else 0
        if self._first_written_ns is None:
            self._first_written_ns = written_ns
            self._last_ns = max(0, written_ns)
            return self._last_ns
        self._risen = self._risen or written_ns > self._first_written_ns
        time_ns = written_ns + self._shift_ns
        if time_ns <= self._last_ns:
            time_ns = self._behind(time_ns)
        self._last_ns = time_ns
        return time_ns

    def _behind(self, time_ns: int) -> int:
        if not self._risen:
            return self._last_ns + self._frame_ns
        if self._last_ns - time_ns < _OVER_NS:
            return self._last_ns + max(1, self._frame_ns // 2)
        next_ns = self._last_ns + self._frame_ns
        self._shift_ns += next_ns - time_ns
        return next_ns
