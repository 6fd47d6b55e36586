"""`StreamClock`: finds where a stream's time steps instead of going on."""

from __future__ import annotations

from typing import NamedTuple

from .message import Frame, Gap, StillFrame
from .settings import SourceConfig
from .stamp import SECOND_NS, StampedFrame

JITTER_NS = SECOND_NS  # a smaller step comes from keeping the clock right, or from a frame's way to us
PAUSE_NS = 10 * SECOND_NS  # a longer time between two frames of a recording is a pause in it
_DRIFT = 1000  # one part in so many of the time that passes: so fast the machine's clock may be corrected


class _FrameTime(NamedTuple):
    utc_ns: int
    arrived_ns: int


class StreamClock:
    """Compares each frame's time with that of the frame before it, and with a clock that nobody sets.

    The rule of a stream's time: a frame has the time that its clock shows, whatever the one before it had. Ids say
    which came first; times may step. A camera's clock is the machine's. If that was set by more than jitter,

        ahead: the stream's time goes on from there, and what lies between is a gap;
        back: it goes on from there too, and some hours come a second time. The gap is the time without video in the
            new time: mostly the moment between two frames.

    A recording's time is what is written in it (see `WrittenTimes`), and steps ahead where the recording pauses.
    """

    def __init__(self, config: SourceConfig) -> None:
        self._between_ns = int(2 * SECOND_NS / config.fps)
        self._last: _FrameTime | None = None

    def measure_step(self, frame: StampedFrame | Frame | StillFrame) -> int:
        """By how much the time stepped before a frame; 0 if it just went on. Call it once for each frame."""
        before, self._last = self._last, _FrameTime(frame.utc_ns, frame.arrived_ns)
        if before is None:
            return 0
        passed_ns = frame.utc_ns - before.utc_ns
        if not (frame.arrived_ns and before.arrived_ns):  # it is read as fast as it can be
            return passed_ns if passed_ns > PAUSE_NS + self._between_ns else 0
        waited_ns = frame.arrived_ns - before.arrived_ns
        step_ns = passed_ns - waited_ns
        if frame.recorded:
            return step_ns if step_ns > PAUSE_NS else 0
        return step_ns if abs(step_ns) > JITTER_NS + waited_ns // _DRIFT else 0


def gap_of(step_ns: int, before_ns: int, frame: Frame | StillFrame, broken: str) -> Gap:
    """The gap before a frame.

    Args:
        step_ns: as `StreamClock` measures it.
        before_ns: time of the frame before.
        broken: why there was no video, if there was none.
    """
    reasons = [broken] if broken else []
    if step_ns and frame.recorded:
        reasons.append(f"the recording pauses for {in_words(step_ns)}")
    elif step_ns:
        reasons.append(f"the clock was set {'ahead' if step_ns > 0 else 'back'} by {in_words(abs(step_ns))}")
    start_ns = max(0, before_ns + min(0, step_ns))
    return Gap(min(start_ns, frame.utc_ns), frame.utc_ns, "; ".join(reasons), step_ns)


def in_words(duration_ns: int) -> str:
    """`2 h`, `1.5 days`."""
    seconds = duration_ns / SECOND_NS
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 0.99 * length:
            value = f"{seconds / length:.3g}"
            return f"{value} day" if (value, unit) == ("1", "days") else f"{value} {unit}"
    return f"{seconds:.3g} s"
