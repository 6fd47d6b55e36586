"""`Stream`: one camera's life, from frame to indexed block."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from datetime import tzinfo
from typing import NamedTuple

import msgspec
from torch import Tensor

from ...memory.block import Block, BlockInfo, Places
from ...memory.dayname import LAST_NS
from ...memory.errors import BlockNotFound, CorruptBlock, StorageError
from ...memory.tiers import Tiers
from ...memory.window import Window
from ...retrieval.retrievers.retriever import Retriever
from ...retrieval.signature import SignatureLayout
from ...retrieval.time.span import Span
from ..capture.address import mask_credentials
from ..capture.message import Ended, Failed, Frame, Gap, Message, Still
from ..capture.settings import SourceConfig
from ..capture.stamp import SECOND_NS, ticks_ns
from ..errors import DeviceFull
from ..log import get_logger
from ..model.device_memory import device_memory
from ..model.image_text import ImageText
from ..model.token_gate import TokenGate, gate_frames
from ..model.video_lm import VideoLM
from ..protocol import GapSpan, StreamStatus
from .first_read import first_read_ns
from .forgotten import Forgotten
from .hole import Hole
from .inbox import Inbox
from .last_read import others_id
from .pastdays import PastDays
from .portion import Portion
from .signatures import Signatures

Publish = Callable[[str, str, int, int, str], None]
_WAY_OUT = "lower model.window_tokens or watch fewer streams"
_UNWATCHED_NS = 5_000_000_000


class _Source(NamedTuple):
    """What a stream is read from, and what comes with it."""

    config: SourceConfig
    zone: tzinfo
    watched: bool
    inbox: Inbox
    token_gate: TokenGate | None


class Stream:
    """Watches a source and remembers it. `step` belongs to the engine's thread; a feeder thread fills the inbox.

    A stream that is not watched is only remembered: it can be asked, expires and can be forgotten as any other.

    Args:
        watched: whether frames are to be read from the source.
        model, tiers: shared by all streams.
        retriever: this stream's own; it is rebuilt here from what the store holds.
        embedding: the image-text model whose space the layout knows, if any.
        publish: told of blocks, gaps and changes of state.
        arrived: called from the feeder whenever there is something to do.
        foreign_until: the newest block whose signature was made for other retrieval heads.

    Raises:
        FingerprintMismatch: the store holds this stream as another model saw it.
        ConfigError: the time zone is none.
    """

    def __init__(
        self,
        name: str,
        config: SourceConfig,
        *,
        model: VideoLM,
        tiers: Tiers,
        retriever: Retriever,
        layout: SignatureLayout,
        embedding: ImageText | None = None,
        publish: Publish,
        arrived: Callable[[], None],
        foreign_until: int = 0,
        watched: bool = True,
    ) -> None:
        self.name, self.retriever = name, retriever
        signatures = Signatures(name, tiers, layout, model.geometry, foreign_until)
        self.past_days = PastDays(name, tiers, retriever.index, signatures)
        self._model, self._tiers, self._layout, self._embedding = model, tiers, layout, embedding
        self._publish, self._arrived = publish, arrived
        self._log = get_logger("stream").bind(stream=name)
        self._portion = Portion(model.config.chunk_frames)
        self.window: Window
        self.last: BlockInfo | None  # the block that a still scene extends
        source = self._source(config, watched)
        self.past_days.restore()
        self._take_up(source, self._filled_window(watched))
        self._hole: Hole | None = None
        self._go_on("longwatch was not running")

    def watch(self, config: SourceConfig) -> None:
        """Begins to watch a stream that was only remembered until now. Where that fails, nothing has changed.

        Raises:
            CaptureError: no source can be made of it.
            ConfigError: the time zone is none.
            StorageError: the newest blocks cannot be read.
        """
        self._take_up(self._source(config, watched=True), self._filled_window(watched=True))
        try:
            self._go_on("the stream was not watched")
            self.start()
        except BaseException:
            self.unwatch().stop_soon()
            raise

    def unwatch(self) -> Inbox:
        """Stops watching; what was remembered stays. Returns the inbox, which is still to be stopped. Never fails."""
        inbox, window = self._inbox, self.window
        try:
            window = self._filled_window(watched=False)
        except (StorageError, RuntimeError, MemoryError) as exc:  # a large window costs room, and nothing else
            self._log.warning("the window stays as large as it was", error=str(exc))
        self._take_up(self._source(self.config, watched=False), window)
        self._hole = None
        return inbox

    def _source(self, config: SourceConfig, watched: bool) -> _Source:
        """Everything that a source brings with it. Changes nothing yet."""
        inbox = Inbox(
            self.name,
            config,
            watched=watched,
            start_ns=first_read_ns(self.name, config, self._tiers.store.book) if watched else None,
            on_message=self._arrived,
            on_state=self._tell_state,
        )
        token_gate = self._model.new_token_gate(config.gate_cosine, config.keep_seconds)
        return _Source(config, config.zone(), watched, inbox, token_gate)

    def _take_up(self, source: _Source, window: Window) -> None:
        self.config, self.zone, self.watched, self._inbox, self._token_gate = source
        self.window = window
        newest = self.retriever.index.newest(1)
        self.last = newest[0] if newest else None
        self._held: Message | None = None
        self._forgotten: list[Forgotten] = []  # while frames may be on their way that came before the order
        self._blind = False  # the frame that a still scene would be like is forgotten
        self.ended = False
        self.encode_error = ""

    def _seen_ns(self) -> int:
        """Until when the stream was seen, also where that was forgotten since; 0 where it never was.

        A camera's forgotten time that is still to come was seen by a clock that was wrong. A recording may be of an
        earlier time than what was read before it: none of it was seen then.
        """
        last, book, start_ns = self.last, self._tiers.store.book, self._inbox.child.start_ns
        newest_id, last_ns = (0, 0) if last is None else (last.block_id, last.end_ns)
        before_id = others_id(self.name, self.config, start_ns, newest_id, book) if self.watched else 0
        if self._inbox.resumes and newest_id <= before_id and last_ns >= start_ns:
            last_ns = 0
        seen_ns = self._tiers.store.book.seen_ns(self.name)
        if not self._inbox.resumes and seen_ns > time.time_ns():
            seen_ns = 0
        return max(seen_ns, last_ns)

    def _go_on(self, reason: str) -> None:
        """What comes is behind what was seen; between them is a gap, where that is worth one."""
        seen_ns = self._seen_ns()
        if seen_ns:
            self._inbox.go_on_behind(seen_ns)
            self._hole = Hole(seen_ns, reason, _UNWATCHED_NS + int(2 * SECOND_NS / self.config.fps))

    def _tell_state(self, time_ns: int, text: str) -> None:
        self._publish(self.name, "state", time_ns, time_ns, text)

    def start(self) -> None:
        """Begins to watch, or begins again where the feeder has died."""
        self._inbox.start()

    def stop_soon(self) -> None:
        """Has what feeds the stream end, without waiting for it."""
        self._inbox.stop_soon()

    def stop(self) -> None:
        """Stops watching; what was remembered stays."""
        self._inbox.stop()
        self.past_days.stop()

    @property
    def alive(self) -> bool:
        """Whether the feeder does its work, or has none left."""
        return self._inbox.alive

    @property
    def now_ns(self) -> int:
        """The time of the newest frame, which is not the highest there ever was where the clock was set back."""
        return self._inbox.child.last_frame_ns or (self.last.end_ns if self.last is not None else 0)

    def step(self) -> bool:
        """Encodes what has arrived, at most a chunk of frames. Returns whether there was anything.

        Frames that cannot be encoded are a gap with the reason, which `encode_error` says too until others are kept.

        Raises:
            DeviceFull: the device has no room for a single frame.
            StorageError: a block could not be packed.
        """
        if not self._tiers.store.has_room(self.name):
            self._let_go()
            return False
        frames: deque[tuple[Frame, int]] = deque()
        worked = False
        while len(frames) < self._model.config.chunk_frames:
            message = self._next()
            if message is None:
                break
            worked = True
            if isinstance(message, Frame):
                frames.append((message, message.utc_ns))
            elif isinstance(message, Still) and frames:
                frames[-1] = (frames[-1][0], max(frames[-1][1], message.utc_ns))  # a clock may be turned back a little
            elif isinstance(message, Still):
                self._extend(message.utc_ns)
            elif frames:
                self._held = message  # a gap or the end comes after the frames before it
                break
            else:
                self._note(message)
                break
        if frames:
            self._encode(frames)
        return worked

    def forget(self, block_ids: Collection[int]) -> None:
        """Lets go of blocks that the store drops: they are found no more, and leave the window."""
        gone = set(block_ids)
        self.retriever.index.forget(gone)
        if self._token_gate is not None:
            self._token_gate.reset()
        if self.last is not None and self.last.block_id in gone:
            self.last = None
            self._begin_anew()
        self.window.forget(gone)

    def forget_on_the_way(self, since_ns: int, until_ns: int) -> None:
        """Frames of this time that have come and are not blocks yet will never be."""
        forgotten = Forgotten(since_ns, until_ns, ticks_ns(), self._inbox.child.last_frame_ns)
        self._forgotten.append(forgotten)
        hole = self._hole
        if hole is not None and hole.frame is not None and forgotten.covers(hole.frame.utc_ns):
            self._hole = hole._replace(frame=None)
            self._begin_anew()

    def _begin_anew(self) -> None:
        """What holds still is known again once a whole frame comes."""
        self._blind = True
        self._inbox.begin_anew()

    def lose(self, blocks: Sequence[BlockInfo], reason: str) -> None:
        """These could never be written: they are found no more, and their time is a gap, where a clock can hold it."""
        self.forget([info.block_id for info in blocks])
        since_ns, until_ns = min(info.start_ns for info in blocks), max(info.end_ns for info in blocks)
        self.encode_error = reason
        if not all(info.gap for info in blocks) and 0 <= since_ns <= until_ns <= LAST_NS:
            self._remember_gap(Gap(since_ns, until_ns, reason))

    def gaps(self, span: Span | None) -> list[GapSpan]:
        """The times with no video that a span touches; one that goes on ends now."""
        found = [GapSpan(start_ns=gap.start_ns, end_ns=gap.end_ns) for gap in self.retriever.index.gaps(span)]
        hole, now_ns = self._hole, self.now_ns
        if hole is not None and hole.frame is not None and (span is None or span.touches(hole.since_ns, now_ns)):
            found.append(GapSpan(start_ns=hole.since_ns, end_ns=now_ns))
        return found

    def status(self) -> StreamStatus:
        """The stream as it is now. From any thread."""
        child, index, hole = self._inbox.child, self.retriever.index, self._hole
        first = index.first()
        gaps = [GapSpan(start_ns=gap.start_ns, end_ns=gap.end_ns) for gap in index.gaps()]
        lost = "" if hole is None or hole.frame is None else f"nothing is kept: {hole.reason}"
        if hole is not None and lost:
            gaps.append(GapSpan(start_ns=hole.since_ns, end_ns=0))
        elif child.state == "reconnecting" and child.last_frame_ns:
            gaps.append(GapSpan(start_ns=child.last_frame_ns, end_ns=0))
        return StreamStatus(
            name=self.name,
            url=mask_credentials(self.config.url),
            state="watching" if child.state == "ended" and not self.ended else child.state,
            last_error=child.last_error or lost or self.encode_error,
            frames=child.frames,
            dropped=child.dropped,
            restarts=child.restarts,
            blocks=len(index),
            durable_id=self._tiers.store.last_id(self.name),
            first_ns=first.start_ns if first is not None else 0,
            last_ns=self.now_ns,
            gaps=gaps,
            time_zone=self.config.time_zone,
        )

    def _take(self) -> Message | None:
        """The next message that is not forgotten, or None."""
        while (message := self._take_any()) is not None and self._is_forgotten(message):
            pass
        return message

    def _is_forgotten(self, message: Message) -> bool:
        """Whether this is of a time that was forgotten since it came, or says that a forgotten scene still holds."""
        if not isinstance(message, Frame | Still):
            return False
        self._forgotten = [each for each in self._forgotten if not each.is_past(message)]
        if any(each.covers(message.utc_ns) for each in self._forgotten):
            self._begin_anew()
            if self._inbox.resumes:
                with contextlib.suppress(StorageError):  # then the next start may read it again
                    self._tiers.store.book.note_seen(self.name, message.utc_ns)
            return True
        if isinstance(message, Frame):
            self._blind = False
        return self._blind

    def _take_any(self) -> Message | None:
        if self._held is not None:
            message, self._held = self._held, None
            return message
        return self._inbox.take()

    def _next(self) -> Message | None:
        """The next message that is worth something, or None. What ends a hole comes behind a gap that tells of it."""
        while (message := self._take()) is not None and self._hole is not None:
            if isinstance(message, Gap):
                self._hole = self._hole.stepped(message.step_ns)  # the gap lies in the hole
                continue
            hole = self._hole
            until_ns = self._inbox.child.last_frame_ns or hole.since_ns
            if isinstance(message, Frame | Still):
                until_ns = message.utc_ns
                if self._inbox.resumes and until_ns <= hole.since_ns:
                    continue  # a file is taken up where it was left
                if isinstance(message, Still) and hole.frame is not None:  # as the lost one was
                    message = msgspec.structs.replace(hole.frame, utc_ns=until_ns)
            self._hole = None
            if (gap := hole.gap(until_ns)) is not None:
                self._held = message
                return gap
            break
        return message

    def _let_go(self) -> None:
        """While the memory has no room. A file or scene that follows no clock waits; of all else, frames are lost."""
        while not self._inbox.waits and (message := self._take()) is not None:
            if isinstance(message, Ended | Failed):
                self._held = message
                return
            if isinstance(message, Frame):
                self._lose(message)
            elif isinstance(message, Gap) and self._hole is None:
                self._hole = Hole(message.start_ns, message.reason)
            elif isinstance(message, Gap) and self._hole is not None:
                self._hole = self._hole.stepped(message.step_ns)
            elif isinstance(message, Still) and self._hole is None:
                self._extend(message.utc_ns)

    def _lose(self, frame: Frame) -> None:
        if self._hole is None or self._hole.frame is None:
            since_ns = self.last.end_ns if self.last is not None else frame.utc_ns
            since_ns = since_ns if self._hole is None else self._hole.since_ns
            self._hole = Hole(since_ns, self._tiers.store.trouble(self.name) or "the disk is too slow")
            self._log.warning("nothing is kept", reason=self._hole.reason)
        self._hole = self._hole._replace(frame=frame)

    def _note(self, message: Message) -> None:
        if isinstance(message, Gap):
            self._hole = Hole(message.start_ns, message.reason)  # still open should the gap itself not be encoded
            with device_memory("a gap", _WAY_OUT):
                self._remember_gap(message)
            self._hole = None
        elif isinstance(message, Ended | Failed):
            self.ended = True

    def _extend(self, end_ns: int) -> None:
        """The last block's scene still holds."""
        if self.last is not None and not self.last.gap and end_ns > self.last.end_ns:
            self._prolong(self.last, end_ns)

    def _prolong(self, last: BlockInfo, end_ns: int) -> None:
        self._tiers.extend(self.name, last, end_ns)
        self.retriever.index.extend(last, end_ns)
        self.last = last._replace(end_ns=end_ns)

    def _encode(self, frames: deque[tuple[Frame, int]]) -> None:
        """Encodes frames, each with its end; where the device is full, fewer at once. Those left over are lost."""
        try:
            while frames:
                some = min(len(frames), self._portion.frames)
                try:
                    with device_memory("1 frame" if some == 1 else f"{some} frames", _WAY_OUT):
                        self._remember_frames(frames, some)
                except DeviceFull:
                    if self._token_gate is not None:
                        self._token_gate.reset()  # it has seen frames that were not kept
                    if not self._portion.too_much(some):
                        raise
                else:
                    self._portion.went_well(some)
                    self.encode_error = ""
        finally:
            if frames:
                self._give_up(frames, str(sys.exception()) or repr(sys.exception()))

    def _give_up(self, frames: deque[tuple[Frame, int]], why: str) -> None:
        """These frames are lost, and so is what is like them, until one can be encoded again."""
        if self._token_gate is not None:
            self._token_gate.reset()
        since_ns = frames[0][0].utc_ns if self.last is None else self.last.end_ns
        self._hole = Hole(since_ns, f"frames could not be encoded: {why}", frame=frames[-1][0])
        self.note_error(self._hole.reason)

    def note_error(self, text: str) -> None:
        """Something was not kept, for the log once, and for status until frames are kept again."""
        if text not in self.encode_error:
            self._log.error("not kept", error=text)
            self.encode_error = text

    def _remember_frames(self, frames: deque[tuple[Frame, int]], most: int) -> None:
        """Encodes the first frames; each is taken out once it is kept."""
        some = list(itertools.islice(frames, most))
        times = [frame.utc_ns for frame, _ in some]
        inputs = self._model.embed_frames([frame.image for frame, _ in some], times, self.zone)
        for run in gate_frames(self._token_gate, inputs, times):
            ours = [some[i] for i in run.frames]
            if run.inputs.shape[1] == self._model.prompt.clock_tokens:
                self._extend(ours[-1][1])  # nothing new but the time
                for _ in ours:
                    frames.popleft()
                continue
            spans = [(frame.utc_ns, end_ns) for frame, end_ns in ours]
            vectors = None
            if self._embedding is not None:
                vectors = self._embedding.embed_pictures([frame.image for frame, _ in ours])
            pictures = [frame.picture for frame, _ in ours]
            self._remember(run.inputs, spans, pictures, vectors, places=run.places, on_kept=frames.popleft)

    def _remember_gap(self, gap: Gap) -> None:
        if self.last is not None and self.last.gap and self.last.end_ns == gap.start_ns:
            self._prolong(self.last, gap.end_ns)  # it goes on
        else:
            inputs = self._model.embed_gap(gap.start_ns, gap.end_ns, self.zone)
            self._remember(inputs, [(gap.start_ns, gap.end_ns)], [b""], gap=True)
        if self._token_gate is not None:
            self._token_gate.reset()
        self._log.warning("gap", seconds=(gap.end_ns - gap.start_ns) / 1e9, reason=gap.reason)
        self._publish(self.name, "gap", gap.start_ns, gap.end_ns, gap.reason)

    def _remember(
        self,
        inputs: Tensor,
        spans: list[tuple[int, int]],
        pictures: list[bytes],
        vectors: Tensor | None = None,
        *,
        places: Places | None = None,
        gap: bool = False,
        on_kept: Callable[[], object] = lambda: None,
    ) -> None:
        """Runs inputs through the model and gives each block to memory, index and window.

        In this order, and whatever may fail first: a block is in the memory and can be found, or it is in neither. One
        for which the window has no room is missing there alone.
        """
        keys, values = self._model.prefill_blocks(inputs, self.window, places)
        signatures = self._layout.signatures(keys, vectors)
        for i, (start_ns, end_ns) in enumerate(spans):
            block = Block(
                block_id=self._tiers.store.next_id(self.name),
                start_ns=start_ns,
                end_ns=end_ns,
                keys=keys[i],
                values=values[i],
                signature=signatures[i],
                picture=pictures[i],
                gap=gap,
                places=places,
            )
            parts = self.retriever.index.cut(block.signature)
            block = self._tiers.spill(self.name, block)
            self.retriever.index.add(block.info, parts)
            self.last = block.info
            on_kept()
            self._publish(self.name, "block", start_ns, end_ns, str(block.block_id))
            self.window.append(block.block_id, block.keys, block.values, block.places)

    def _filled_window(self, watched: bool) -> Window:
        """A window of the newest blocks; where nothing is watched, of the newest alone, to keep the device's room.

        Raises:
            StorageError: a block cannot be read now, though it is not damaged.
        """
        window = self._model.new_window(None if watched else 0)
        fitting: list[Block] = []
        room = window.window_tokens
        for info in reversed(self.retriever.index.newest(max(room, 1))):
            room -= info.tokens
            if room < 0 and fitting:
                break
            try:
                fitting += self._tiers.fetch(self.name, [info.block_id])
            except (CorruptBlock, BlockNotFound):
                self.retriever.index.forget([info.block_id])
        for block in reversed(fitting):
            window.append(block.block_id, block.keys, block.values, block.places)
        return window
