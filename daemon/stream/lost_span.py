"""`LostSpan`: a time of which nothing is kept, and which goes on until something is."""

from __future__ import annotations

from typing import NamedTuple

from ..capture.clock import JITTER_NS, in_words
from ..capture.message import Frame, Gap


class LostSpan(NamedTuple):
    """What is known of it while it is open.

    Attributes:
        least_ns: a shorter one becomes no gap.
        frame: the newest frame that came and was lost; None if none came.
    """

    since_ns: int
    reason: str
    least_ns: int = 0
    frame: Frame | None = None

    def after_step(self, step_ns: int) -> LostSpan:
        """The same after the clock was set within it. If it was set back, it begins in the new time: see `Gap`."""
        return self._replace(since_ns=max(0, self.since_ns + min(0, step_ns)))

    def gap(self, until_ns: int) -> Gap | None:
        """The gap that it was, now that there is a frame again; None if it is too short for one.

        If the clock was set back while nobody looked, nobody knows how long there was no video: the gap is a moment.
        """
        back_ns = self.since_ns - until_ns
        if back_ns > JITTER_NS:
            return Gap(until_ns, until_ns, f"{self.reason}; the clock was set back by {in_words(back_ns)}", -back_ns)
        return Gap(self.since_ns, until_ns, self.reason) if -back_ns > self.least_ns else None
