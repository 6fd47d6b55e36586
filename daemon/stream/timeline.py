"""`Timeline`: how far a stream has come, and in which times there is no video."""

from __future__ import annotations

import time

from ...retrieval.time.span import Span
from ..capture.settings import SourceConfig
from ..capture.stamp import SECOND_NS
from ..protocol import GapSpan
from .arrivals import Arrivals
from .inbox import Inbox
from .last_read import find_others_id
from .lost_span import LostSpan
from .stream_memory import StreamMemory

_UNWATCHED_NS = 5 * SECOND_NS  # a shorter time without a daemon is worth no gap


class Timeline:
    """Two times of a stream are its newest, and they differ:

        `now_ns` is the newest frame's time. "An hour ago" is counted from it. It steps back where the clock does.
        `seen_ns` is how far the source was seen before this start, even if that has been forgotten. A recording goes
            on behind it, and what lies between it and the first frame is a gap.

    Belongs to the engine's thread, except that `now_ns` and `open_gaps` may be read from any.
    """

    def __init__(
        self, stream: str, config: SourceConfig, inbox: Inbox, arrivals: Arrivals, memory: StreamMemory
    ) -> None:
        self._stream, self._config = stream, config
        self._inbox, self._arrivals, self._memory = inbox, arrivals, memory

    @property
    def now_ns(self) -> int:
        """The time of the newest frame, or of the newest block before any frame has come; 0 if there is neither."""
        if frame_ns := self._inbox.child.last_frame_ns:
            return frame_ns
        newest = self._memory.newest
        return 0 if newest is None else newest.end_ns

    def go_on(self, reason: str) -> None:
        """What comes from now on is behind what was seen. Between the two is a gap, if it is long enough.

        Args:
            reason: why nothing was seen.

        Raises:
            StorageError: the book cannot be read.
        """
        seen_ns = self._seen_ns()
        if seen_ns:
            self._inbox.go_on_behind(seen_ns)
            least_ns = _UNWATCHED_NS + int(2 * SECOND_NS / self._config.fps)
            self._arrivals.lost = LostSpan(seen_ns, reason, least_ns)

    def gaps(self, span: Span | None) -> list[GapSpan]:
        """The times with no video that a span touches. One that goes on ends now."""
        found = [GapSpan(start_ns=gap.start_ns, end_ns=gap.end_ns) for gap in self._memory.retriever.index.gaps(span)]
        lost, now_ns = self._arrivals.lost, self.now_ns
        if lost is not None and lost.frame is not None and (span is None or span.touches(lost.since_ns, now_ns)):
            found.append(GapSpan(start_ns=lost.since_ns, end_ns=now_ns))
        return found

    def open_gaps(self) -> list[GapSpan]:
        """As `gaps`, of all times. One that goes on has end 0."""
        found = [GapSpan(start_ns=gap.start_ns, end_ns=gap.end_ns) for gap in self._memory.retriever.index.gaps()]
        lost, child = self._arrivals.lost, self._inbox.child
        if lost is not None and lost.frame is not None:
            found.append(GapSpan(start_ns=lost.since_ns, end_ns=0))
        elif child.state == "reconnecting" and child.last_frame_ns:
            found.append(GapSpan(start_ns=child.last_frame_ns, end_ns=0))
        return found

    def _seen_ns(self) -> int:
        """How far the source was seen before; 0 if it never was."""
        last, resumes, start_ns = self._memory.last, self._inbox.resumes, self._inbox.child.start_ns
        last_id, last_ns = (0, 0) if last is None else (last.block_id, last.end_ns)
        before_id = find_others_id(self._stream, self._config, start_ns, last_id, self._memory.book)
        if resumes and last_id <= before_id and last_ns >= start_ns:
            # Every block is of another recording, and this one begins before they end: nothing of it was seen.
            last_ns = 0
        forgotten_ns = self._memory.forgotten_ns
        if not resumes and forgotten_ns > time.time_ns():
            # A camera cannot have seen a time that is still to come. The clock was wrong then.
            forgotten_ns = 0
        return max(forgotten_ns, last_ns)
