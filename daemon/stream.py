"""`Stream`: one camera's life, from frame to indexed block."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import msgspec
from torch import Tensor

from ..memory.block import Block, BlockInfo, Places
from ..memory.errors import BlockNotFound, CorruptBlock
from ..memory.folder import LAST_NS
from ..memory.tiers import Tiers
from ..memory.window import Window
from ..retrieval.retriever import Retriever
from ..retrieval.signature import SignatureLayout
from ..retrieval.timespan import Span
from .capture.address import mask_credentials
from .capture.message import Ended, Failed, Frame, Gap, Message, Still
from .capture.settings import SourceConfig
from .capture.stamp import SECOND_NS
from .hole import Hole
from .inbox import Inbox
from .log import get_logger
from .model.image_text import ImageText
from .model.token_gate import runs
from .model.video_lm import VideoLM
from .pastdays import PastDays
from .protocol import GapSpan, StreamStatus
from .signatures import Signatures

Publish = Callable[[str, str, int, int, str], None]
_UNWATCHED_NS = 5_000_000_000


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
        self.past_days = PastDays(name, tiers, retriever, signatures)
        self._model, self._tiers, self._layout, self._embedding = model, tiers, layout, embedding
        self._publish, self._arrived = publish, arrived
        self._log = get_logger("stream").bind(stream=name)
        self.window: Window
        self.last: BlockInfo | None  # the block that a still scene extends
        self._take_up(config, watched)
        self.past_days.restore()
        self._fill_window()
        self._hole: Hole | None = None
        seen_ns = self._seen_ns()
        if seen_ns:
            self._hole = Hole(seen_ns, "longwatch was not running", self._unwatched_ns)

    def watch(self, config: SourceConfig) -> None:
        """Begins to watch a stream that was only remembered until now.

        Raises:
            CaptureError: no source can be made of it.
            ConfigError: the time zone is none.
        """
        self._take_up(config, watched=True)
        self._fill_window()
        seen_ns = self._seen_ns()
        if seen_ns:
            self._hole = Hole(seen_ns, "the stream was not watched", self._unwatched_ns)
        self.start()

    def unwatch(self) -> Inbox:
        """Stops watching; what was remembered stays. Returns the inbox, which is still to be stopped."""
        inbox = self._inbox
        self._take_up(self.config, watched=False)
        self._fill_window()
        self._hole = None
        return inbox

    def _take_up(self, config: SourceConfig, watched: bool) -> None:
        """Everything that a source brings with it."""
        zone = config.zone()
        self._inbox = Inbox(self.name, config, watched=watched, on_message=self._arrived, on_state=self._tell_state)
        self.config, self.zone, self.watched = config, zone, watched
        self._token_gate = self._model.token_gate(config.gate_cosine, config.keep_seconds)
        self._held: Message | None = None
        self.ended = False
        self.encode_error = ""

    def _seen_ns(self) -> int:
        """Until when the stream was seen, also where that was forgotten since; 0 where it never was."""
        return max(self._tiers.store.seen_ns(self.name), self.last.end_ns if self.last is not None else 0)

    @property
    def _unwatched_ns(self) -> int:
        """A shorter time that nobody watched is not worth a gap."""
        return _UNWATCHED_NS + int(2 * SECOND_NS / self.config.fps)

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
        """Encodes what has arrived, at most a chunk of frames. Returns whether there was anything."""
        if not self._tiers.store.has_room(self.name):
            self._let_go()
            return False
        frames: list[tuple[Frame, int]] = []
        worked = False
        while len(frames) < self._model.config.chunk_frames:
            message = self._next()
            if message is None:
                break
            worked = True
            if isinstance(message, Frame):
                frames.append((message, message.utc_ns))
            elif isinstance(message, Still) and frames:
                frames[-1] = (frames[-1][0], message.utc_ns)
            elif isinstance(message, Still):
                self._extend(message.utc_ns)
            elif frames:
                self._held = message  # a gap or the end comes after the frames before it
                break
            else:
                self._note(message)
                break
        if frames:
            self._remember_frames(frames)
        return worked

    def forget(self, block_ids: Collection[int]) -> None:
        """Lets go of blocks that the store drops: they are found no more, and leave the window."""
        gone = set(block_ids)
        self.retriever.index.forget(gone)
        if self._token_gate is not None:
            self._token_gate.reset()
        if self.last is not None and self.last.block_id in gone:
            self.last = None
        if gone.isdisjoint(block.block_id for block in self.window.blocks):
            return
        old, self.window = self.window, self._model.new_window(self.window.window_tokens)
        for part in old.parts():
            if part.block_id not in gone:
                self.window.append(*part)

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
        """The next message, or None."""
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
            self._remember_gap(message)
        elif isinstance(message, Ended | Failed):
            self.ended = True

    def _extend(self, end_ns: int) -> None:
        """The last block's scene still holds."""
        if self.last is not None and not self.last.gap and end_ns > self.last.end_ns:
            self._tiers.extend(self.name, self.last, end_ns)
            self.retriever.index.extend(self.last, end_ns)
            self.last = self.last._replace(end_ns=end_ns)

    def _remember_frames(self, frames: list[tuple[Frame, int]]) -> None:
        times = [frame.utc_ns for frame, _ in frames]
        inputs = self._model.frame_inputs([frame.image for frame, _ in frames], times, self.zone)
        for run in runs(self._token_gate, inputs, times):
            ours = [frames[i] for i in run.frames]
            if run.inputs.shape[1] == self._model.prompt.clock_tokens:
                self._extend(ours[-1][1])  # nothing new but the time
                continue
            spans = [(frame.utc_ns, end_ns) for frame, end_ns in ours]
            vectors = None
            if self._embedding is not None:
                vectors = self._embedding.pictures([frame.image for frame, _ in ours])
            self._remember(run.inputs, spans, [frame.picture for frame, _ in ours], vectors, places=run.places)

    def _remember_gap(self, gap: Gap) -> None:
        inputs = self._model.gap_inputs(gap.start_ns, gap.end_ns, self.zone)
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
    ) -> None:
        """Runs inputs through the model and gives each block to window, memory and index."""
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
            self.last = block.info
            block = self._tiers.spill(self.name, block)
            self.window.append(block.block_id, block.keys, block.values, block.places)
            self.retriever.index.add(block.info, self.retriever.parts(block.signature))
            self._publish(self.name, "block", start_ns, end_ns, str(block.block_id))

    def _fill_window(self) -> None:
        """The newest blocks that fit; where nothing is watched, the newest alone, so that the device keeps its room."""
        self.window = self._model.new_window(None if self.watched else 0)
        fitting: list[Block] = []
        room = self.window.window_tokens
        for info in reversed(self.retriever.index.newest(max(room, 1))):
            room -= info.tokens
            if room < 0 and fitting:
                break
            try:
                fitting += self._tiers.fetch(self.name, [info.block_id])
            except (CorruptBlock, BlockNotFound):
                self.retriever.index.forget([info.block_id])
        for block in reversed(fitting):
            self.window.append(block.block_id, block.keys, block.values, block.places)
        newest = self.retriever.index.newest(1)
        self.last = newest[0] if newest else None
