"""`ForgottenSpan`: a time that was forgotten while frames of it may still have been on their way."""

from __future__ import annotations

from typing import NamedTuple

from ..capture.message import Frame, StillFrame


class ForgottenSpan(NamedTuple):
    """Tells frames that came before the order to forget from those that came after it.

    Attributes:
        since_ns, until_ns: the time, its ends included.
        ticks: `ticks_ns` at the order.
        newest_ns: the newest frame's time at the order. It decides for sources that are read as fast as they can be.
    """

    since_ns: int
    until_ns: int
    ticks: int
    newest_ns: int

    def is_past(self, message: Frame | StillFrame) -> bool:
        """Whether this frame came after the order, and so will all that follow."""
        return message.arrived_ns > self.ticks if message.arrived_ns else message.utc_ns > self.newest_ns

    def covers(self, time_ns: int) -> bool:
        """Whether this moment is forgotten."""
        return self.since_ns <= time_ns <= self.until_ns
