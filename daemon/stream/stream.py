"""`Stream`: one camera's life, from frame to indexed block."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from ...memory.block import BlockInfo
from ...memory.errors import StorageError
from ...memory.window import Window
from ...retrieval.signature import SignatureLayout
from ...retrieval.time.span import Span
from ..capture.address import mask_credentials
from ..capture.settings import SourceConfig
from ..log import get_logger
from ..model.image_text import ImageText
from ..model.video_lm import VideoLM
from ..protocol import GapSpan, StreamStatus
from .encoder import Encoder, OnEvent
from .first_read import first_read_ns
from .inbox import Inbox
from .intake import Intake
from .stream_memory import StreamMemory


class Stream:
    """Watches a source and remembers it. `step` belongs to the engine's thread; a feeder thread fills the inbox.

    A stream that is not watched is only remembered: it can be asked, and it expires and can be forgotten as any other.
    `StreamMaker` makes streams.

    Args:
        watched: whether frames are to be read from the source.
        memory: this stream's own; its index is filled here.
        model, layout, embedding: shared by all streams.
        on_event: called for blocks, gaps and changes of state, some of them on the feeder's thread.
        on_message: called on the feeder's thread whenever there is something to do.

    Raises:
        FingerprintMismatch: the store holds this stream as another model saw it.
        CaptureError: the source is not valid.
        ConfigError: the time zone is not valid.
    """

    def __init__(
        self,
        name: str,
        config: SourceConfig,
        *,
        watched: bool,
        memory: StreamMemory,
        model: VideoLM,
        layout: SignatureLayout,
        embedding: ImageText | None,
        on_event: OnEvent,
        on_message: Callable[[], None],
    ) -> None:
        self.name, self.retriever, self.past_days = name, memory.retriever, memory.past_days
        self._memory = memory
        self._model, self._layout, self._embedding = model, layout, embedding
        self._on_event, self._on_message = on_event, on_message
        self._log = get_logger("stream").bind(stream=name)
        inbox = self._make_inbox(config, watched)
        memory.restore()
        self._take_up(config, watched, inbox, self._make_window(watched))
        if watched:
            self._intake.timeline.go_on("longwatch was not running")

    def watch(self, config: SourceConfig) -> None:
        """Watches a stream that was only remembered until now. If that fails, it stays so.

        Raises:
            CaptureError: the source is not valid.
            ConfigError: the time zone is not valid.
            StorageError: the newest blocks cannot be read.
        """
        inbox = self._make_inbox(config, watched=True)
        self._take_up(config, True, inbox, self._make_window(watched=True))
        try:
            self._intake.timeline.go_on("the stream was not watched")
            self.start()
        except BaseException:
            self.unwatch().stop_soon()
            raise

    def unwatch(self) -> Inbox:
        """Stops watching; what was remembered stays. Returns the inbox, which the caller must stop. Never fails."""
        inbox, window = self._intake.inbox, self.window
        try:
            window = self._make_window(watched=False)
        except (StorageError, RuntimeError, MemoryError) as exc:  # a large window costs room, and nothing else
            self._log.warning("the window stays as large as it was", error=str(exc))
        self._take_up(self.config, False, self._make_inbox(self.config, watched=False), window)
        return inbox

    def start(self) -> None:
        """Begins to watch, or begins again if the feeder has died."""
        self._intake.inbox.start()

    def stop_soon(self) -> None:
        """Has the feeder end, without waiting for it."""
        self._intake.inbox.stop_soon()

    def stop(self) -> None:
        """Stops watching; what was remembered stays."""
        self._intake.inbox.stop()
        self.past_days.stop()

    @property
    def alive(self) -> bool:
        """Whether the feeder works, has not begun yet, or has nothing left to do."""
        return self._intake.inbox.alive

    @property
    def window(self) -> Window:
        """The newest blocks' keys and values."""
        return self._intake.encoder.window

    @property
    def ended(self) -> bool:
        """Whether the last frame of the source is a block."""
        return self._intake.ended

    @property
    def last(self) -> BlockInfo | None:
        """The newest block, which a still scene extends; None if there is none, or if it was forgotten."""
        return self._memory.last

    @property
    def now_ns(self) -> int:
        """The newest frame's time: see `Timeline`."""
        return self._intake.timeline.now_ns

    def step(self) -> bool:
        """Encodes what has come, at most a chunk of frames. Returns whether there was anything.

        Frames that cannot be encoded become a gap with the reason. `status` says so too, until others are kept.

        Raises:
            DeviceFull: the device has no room for a single frame.
            StorageError: a block could not be packed.
        """
        return self._intake.step()

    def forget(self, block_ids: Collection[int]) -> None:
        """Lets go of blocks that the store drops: they are found no more, and leave the window."""
        self._intake.forget(block_ids)

    def forget_arrivals(self, since_ns: int, until_ns: int) -> None:
        """Frames of this time that have come and are not blocks yet never become any."""
        self._intake.arrivals.forget(since_ns, until_ns)

    def lose(self, blocks: Sequence[BlockInfo], reason: str) -> None:
        """These could never be written: they are found no more. Their time is a gap, if a clock can show it."""
        self._intake.lose(blocks, reason)

    def note_error(self, text: str) -> None:
        """Something was not kept: this is logged once, and `status` says so until frames are kept again."""
        self._intake.encoder.note_error(text)

    def gaps(self, span: Span | None) -> list[GapSpan]:
        """The times with no video that a span touches. One that goes on ends now."""
        return self._intake.timeline.gaps(span)

    def status(self) -> StreamStatus:
        """The stream as it is now. From any thread."""
        intake, index = self._intake, self.retriever.index
        child, lost = intake.inbox.child, intake.arrivals.lost
        first = index.first()
        why_lost = "" if lost is None or lost.frame is None else f"nothing is kept: {lost.reason}"
        return StreamStatus(
            name=self.name,
            url=mask_credentials(self.config.url),
            state="watching" if child.state == "ended" and not intake.ended else child.state,
            last_error=child.last_error or why_lost or intake.encoder.error,
            frames=child.frames,
            dropped=child.dropped,
            restarts=child.restarts,
            blocks=len(index),
            durable_id=self._memory.durable_id,
            first_ns=first.start_ns if first is not None else 0,
            last_ns=intake.timeline.now_ns,
            gaps=intake.timeline.open_gaps(),
            time_zone=self.config.time_zone,
        )

    def _make_inbox(self, config: SourceConfig, watched: bool) -> Inbox:
        return Inbox(
            self.name,
            config,
            watched=watched,
            start_ns=first_read_ns(self.name, config, self._memory.book) if watched else None,
            on_message=self._on_message,
            on_state=lambda time_ns, text: self._on_event(self.name, "state", time_ns, time_ns, text),
        )

    def _make_window(self, watched: bool) -> Window:
        """A window of the newest blocks. If nothing is watched it holds only the newest, to save the device's memory.

        Raises:
            StorageError: a block cannot be read now, though it is not damaged.
        """
        window = self._model.new_window(None if watched else 0)
        self._memory.fill(window)
        return window

    def _take_up(self, config: SourceConfig, watched: bool, inbox: Inbox, window: Window) -> None:
        """From now on this is what the stream is read from."""
        encoder = Encoder(
            self.name,
            config,
            window,
            model=self._model,
            memory=self._memory,
            layout=self._layout,
            embedding=self._embedding,
            on_event=self._on_event,
        )
        self._memory.find_last()
        self.config, self.zone, self.watched = config, config.zone(), watched
        self._intake = Intake(self.name, config, inbox, encoder, self._memory, self._model.config.chunk_frames)
