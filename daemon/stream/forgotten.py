"""`Forgotten`: a time that was forgotten while frames of it may still have been on their way."""

from __future__ import annotations

from typing import NamedTuple

from ..capture.message import Frame, Still


class Forgotten(NamedTuple):
    """What tells the frames that had come before the order from those that come after it.

    Attributes:
        since_ns, until_ns: the time, its ends included.
        ticks: what `ticks_ns` said at the order.
        newest_ns: the newest frame that had come then; it tells where frames are read as fast as they can be.
    """

    since_ns: int
    until_ns: int
    ticks: int
    newest_ns: int

    def is_past(self, message: Frame | Still) -> bool:
        """Whether this came after the order, as all behind it will."""
        return message.arrived_ns > self.ticks if message.arrived_ns else message.utc_ns > self.newest_ns

    def covers(self, time_ns: int) -> bool:
        """Whether this moment is forgotten."""
        return self.since_ns <= time_ns <= self.until_ns
