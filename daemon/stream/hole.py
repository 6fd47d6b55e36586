"""`Hole`: a time of which nothing is remembered, and which goes on until something is."""

from __future__ import annotations

from typing import NamedTuple

from ..capture.clock import JITTER_NS, in_words
from ..capture.message import Frame, Gap


class Hole(NamedTuple):
    """What is known of it while it is open.

    Attributes:
        least_ns: a shorter one is not worth a gap.
        frame: the newest frame that came and was lost.
    """

    since_ns: int
    reason: str
    least_ns: int = 0
    frame: Frame | None = None

    def stepped(self, step_ns: int) -> Hole:
        """The same, after the clock was set within it: one set back begins in the new time (see `Gap.step_ns`)."""
        return self._replace(since_ns=max(0, self.since_ns + min(0, step_ns)))

    def gap(self, until_ns: int) -> Gap | None:
        """The gap that it was, once there is a frame again; None where it is not worth one.

        If the clock was set back while nobody looked, nobody knows how long there was no video: the gap is a moment.
        """
        back_ns = self.since_ns - until_ns
        if back_ns > JITTER_NS:
            return Gap(until_ns, until_ns, f"{self.reason}; the clock was set back by {in_words(back_ns)}", -back_ns)
        return Gap(self.since_ns, until_ns, self.reason) if -back_ns > self.least_ns else None
