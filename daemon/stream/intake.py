"""`Intake`: takes what comes from a source, and has it made into blocks."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Collection, Sequence

from ...memory.block import BlockInfo
from ...memory.dayname import LAST_NS
from ..capture.message import Frame, Gap, Message, SourceEnd, SourceFailure, StillFrame
from ..capture.settings import SourceConfig
from .arrivals import Arrivals
from .encoder import Encoder, HeldFrame
from .inbox import Inbox
from .lost_span import LostSpan
from .stream_memory import StreamMemory
from .timeline import Timeline


class Intake:
    """Serves one source for as long as a stream is read from it. Belongs to the engine's thread.

    Args:
        chunk_frames: the most frames of one step.

    Attributes:
        ended: the last frame of the source is a block.
    """

    def __init__(
        self, stream: str, config: SourceConfig, inbox: Inbox, encoder: Encoder, memory: StreamMemory, chunk_frames: int
    ) -> None:
        self.inbox, self.encoder = inbox, encoder
        self.arrivals = Arrivals(stream, inbox, memory)
        self.timeline = Timeline(stream, config, inbox, self.arrivals, memory)
        self.ended = False
        self._memory, self._chunk_frames = memory, chunk_frames

    def step(self) -> bool:
        """Encodes what has come, at most a chunk of frames. Returns whether there was anything.

        Frames that cannot be encoded become a gap with the reason.

        Raises:
            DeviceFull: the device has no room for a single frame.
            StorageError: a block could not be packed.
        """
        if not self._memory.has_room:
            self.arrivals.lose_all()
            return False
        frames, worked = deque[HeldFrame](), False
        while len(frames) < self._chunk_frames and (message := self.arrivals.next()) is not None:
            worked = True
            if isinstance(message, Frame):
                frames.append(HeldFrame(message, message.utc_ns))
            elif isinstance(message, StillFrame) and frames:
                end_ns = max(frames[-1].end_ns, message.utc_ns)  # a clock may be turned back a little
                frames[-1] = frames[-1]._replace(end_ns=end_ns)
            elif isinstance(message, StillFrame):
                self._memory.extend_scene(message.utc_ns)
            elif frames:
                self.arrivals.put_back(message)  # a gap or the end comes after the frames before it
                break
            else:
                self._note(message)
                break
        self._encode(frames)
        return worked

    def forget(self, block_ids: Collection[int]) -> None:
        """Lets go of blocks: they are found no more, and leave the window."""
        gone, last = set(block_ids), self._memory.last
        self._memory.forget(gone)
        self.encoder.forget(gone)
        if last is not None and last.block_id in gone:
            self.arrivals.ask_whole()

    def lose(self, blocks: Sequence[BlockInfo], reason: str) -> None:
        """These could never be written: they are found no more. Their time is a gap, if a clock can show it."""
        self.forget([info.block_id for info in blocks])
        since_ns, until_ns = min(info.start_ns for info in blocks), max(info.end_ns for info in blocks)
        self.encoder.error = reason
        if not all(info.gap for info in blocks) and 0 <= since_ns <= until_ns <= LAST_NS:
            self.encoder.encode_gap(Gap(since_ns, until_ns, reason))

    def _note(self, message: Message) -> None:
        if isinstance(message, Gap):
            self.arrivals.lost = LostSpan(message.start_ns, message.reason)  # it stays so if the gap isn't encoded
            self.encoder.encode_gap(message)
            self.arrivals.lost = None
        elif isinstance(message, SourceEnd | SourceFailure):
            self.ended = True

    def _encode(self, frames: deque[HeldFrame]) -> None:
        try:
            self.encoder.encode(frames)
        finally:
            if frames:
                self._give_up(frames, str(sys.exception()) or repr(sys.exception()))

    def _give_up(self, frames: deque[HeldFrame], why: str) -> None:
        """These frames are lost, and so are still frames like them, until one can be encoded again."""
        self.encoder.reset_gate()
        last, reason = self._memory.last, f"frames could not be encoded: {why}"
        since_ns = frames[0].frame.utc_ns if last is None else last.end_ns
        self.arrivals.lost = LostSpan(since_ns, reason, frame=frames[-1].frame)
        self.encoder.note_error(reason)
