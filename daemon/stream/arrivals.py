"""`Arrivals`: what comes out of a stream's inbox. Forgotten frames are left out, and what was lost becomes a gap."""

from __future__ import annotations

from collections import deque

import msgspec

from ..capture.message import Frame, Gap, Message, SourceEnd, SourceFailure, StillFrame
from ..capture.stamp import ticks_ns
from ..log import get_logger
from .forgotten_span import ForgottenSpan
from .inbox import Inbox
from .lost_span import LostSpan
from .stream_memory import StreamMemory


class Arrivals:
    """Messages in order. Belongs to the engine's thread.

    Attributes:
        lost: the time of which nothing is kept now, if there is one. The next frame ends it.
    """

    def __init__(self, stream: str, inbox: Inbox, memory: StreamMemory) -> None:
        self.lost: LostSpan | None = None
        self._inbox, self._memory = inbox, memory
        self._put_back: deque[Message] = deque()
        self._forgotten: list[ForgottenSpan] = []  # while frames may be on their way that came before the order
        self._blind = False  # a still frame says nothing, since the frame that it is like was forgotten
        self._log = get_logger("stream").bind(stream=stream)

    def next(self) -> Message | None:
        """The next message, or None if there is none now. A gap comes before the frame that ends a lost span."""
        while (message := self._take()) is not None and self.lost is not None:
            if isinstance(message, Gap):
                self.lost = self.lost.after_step(message.step_ns)  # the gap lies within the lost span
            elif (found := self._end_lost(self.lost, message)) is not None:
                return found
        return message

    def put_back(self, message: Message) -> None:
        """The message comes next once more."""
        self._put_back.appendleft(message)

    def lose_all(self) -> None:
        """Loses the frames that have come, since the memory has no room.

        A file or scene that follows no clock waits instead, and loses nothing.
        """
        while not self._inbox.waits and (message := self._take()) is not None:
            if isinstance(message, SourceEnd | SourceFailure):
                self.put_back(message)
                return
            if isinstance(message, Frame):
                self._lose(message)
            elif isinstance(message, Gap) and self.lost is None:
                self.lost = LostSpan(message.start_ns, message.reason)
            elif isinstance(message, Gap) and self.lost is not None:
                self.lost = self.lost.after_step(message.step_ns)
            elif isinstance(message, StillFrame) and self.lost is None:
                self._memory.extend_scene(message.utc_ns)

    def forget(self, since_ns: int, until_ns: int) -> None:
        """Frames of this time that have come, or are on their way, never become blocks."""
        forgotten = ForgottenSpan(since_ns, until_ns, ticks_ns(), self._inbox.child.last_frame_ns)
        self._forgotten.append(forgotten)
        lost = self.lost
        if lost is not None and lost.frame is not None and forgotten.covers(lost.frame.utc_ns):
            self.lost = lost._replace(frame=None)
            self.ask_whole()

    def ask_whole(self) -> None:
        """Asks for a whole frame, since the one that still frames are like is gone. Up to then they say nothing."""
        self._blind = True
        self._inbox.ask_whole()

    def _take(self) -> Message | None:
        """The next message that is not forgotten."""
        while (message := self._take_any()) is not None and self._is_forgotten(message):
            pass
        return message

    def _take_any(self) -> Message | None:
        return self._put_back.popleft() if self._put_back else self._inbox.take()

    def _is_forgotten(self, message: Message) -> bool:
        """Whether this frame's time was forgotten after it came, or it only says that a forgotten scene still holds."""
        if not isinstance(message, Frame | StillFrame):
            return False
        self._forgotten = [each for each in self._forgotten if not each.is_past(message)]
        if any(each.covers(message.utc_ns) for each in self._forgotten):
            self.ask_whole()
            if self._inbox.resumes:
                self._memory.note_forgotten(message.utc_ns)
            return True
        if isinstance(message, Frame):
            self._blind = False
        return self._blind

    def _end_lost(self, lost: LostSpan, message: Message) -> Message | None:
        """The gap that a lost span was; the message itself if that is worth no gap; None if the span goes on."""
        until_ns = self._inbox.child.last_frame_ns or lost.since_ns
        if isinstance(message, Frame | StillFrame):
            until_ns = message.utc_ns
            if self._inbox.resumes and until_ns <= lost.since_ns:
                return None  # a recording goes on where it was left
            if isinstance(message, StillFrame) and lost.frame is not None:
                # It shows what the newest lost frame showed, so that frame's picture stands in for its own.
                message = msgspec.structs.replace(lost.frame, utc_ns=until_ns)
        self.lost = None
        gap = lost.gap(until_ns)
        if gap is None:
            return message
        self.put_back(message)
        return gap

    def _lose(self, frame: Frame) -> None:
        lost, last = self.lost, self._memory.last
        if lost is None or lost.frame is None:
            since_ns = frame.utc_ns if last is None else last.end_ns
            since_ns = since_ns if lost is None else lost.since_ns
            lost = LostSpan(since_ns, self._memory.trouble)
            self._log.warning("nothing is kept", reason=lost.reason)
        self.lost = lost._replace(frame=frame)
