"""`Inbox`: a stream's source, and the thread that takes its messages in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..capture.absent import AbsentSource
from ..capture.address import kind_of
from ..capture.child import CaptureChild
from ..capture.message import Message
from ..capture.settings import SourceConfig
from ..capture.source import has_start
from ..log import get_logger
from ..supervised import SupervisedThread
from .message_queue import MessageQueue

_LIVE_MESSAGES, _FILE_MESSAGES = 4, 64
_STOP_SECONDS = 5
OnState = Callable[[int, str], None]


class Inbox:
    """Messages of one source, in order. `take` belongs to one thread; a feeder thread fills the queue.

    Args:
        watched: whether frames are to be read; otherwise nothing ever comes.
        start_ns: of a file or scene whose start is not configured (see `first_read_ns`).
        on_message: called from the feeder after each message.
        on_state: called from the feeder with the newest frame's time and what changed, in words.

    Attributes:
        resumes: it is a recording, and a restart goes on where it was left.
        waits: it follows no clock, and waits until its messages are taken.

    Raises:
        CaptureError: the source is not valid.
    """

    def __init__(
        self,
        name: str,
        config: SourceConfig,
        *,
        watched: bool,
        start_ns: int | None = None,
        on_message: Callable[[], None],
        on_state: OnState,
    ) -> None:
        self.child: CaptureChild | AbsentSource = CaptureChild(config, start_ns=start_ns) if watched else AbsentSource()
        self.resumes = kind_of(config.url) in ("file", "scene")
        self.waits = self.resumes and config.pace == "fast"
        self._lives_on = kind_of(config.url) == "scene" and config.pace == "real" and not has_start(config)
        self._watched = watched
        self._on_message, self._on_state = on_message, on_state
        self._messages = MessageQueue(_LIVE_MESSAGES if config.pace == "real" else _FILE_MESSAGES)
        self._stopping = threading.Event()
        self._feeder = SupervisedThread(f"feeder-{name}", self._feed)
        self._log = get_logger("stream").bind(stream=name)

    @property
    def alive(self) -> bool:
        """Whether the feeder works, has not begun yet, or has nothing left to do."""
        return not self._feeder.begun or self._feeder.alive or self.child.over

    def go_on_behind(self, utc_ns: int) -> None:
        """Before the start: what a file or scene shows up to this time is in memory.

        A scene at real pace without a configured start is like a camera: it went on while nobody watched.
        """
        if self.resumes and isinstance(self.child, CaptureChild):
            self.child.go_on_behind(time.time_ns() if self._lives_on else utc_ns)

    def start(self) -> None:
        """Starts the feeder, or starts it again if it has died."""
        if self._watched:
            self._feeder.start()

    def stop_soon(self) -> None:
        """Tells the feeder to end, and the source with it, and does not wait for that. From any thread."""
        self._stopping.set()

    def stop(self) -> None:
        """Ends feeder and source; takes some seconds. From any thread."""
        self.stop_soon()
        self._feeder.join(_STOP_SECONDS)
        if not self._feeder.alive:
            self.child.stop()  # since the feeder has died, or never began

    def take(self) -> Message | None:
        """The next message, or None if there is none now."""
        return self._messages.take()

    def ask_whole(self) -> None:
        """Asks for a whole frame, whatever it shows. Frames on their way may still be still ones. From any thread."""
        self.child.ask_whole()

    def _feed(self) -> None:
        while not self._stopping.is_set() and not self.child.over:
            before = self.child.state
            message = self.child.next(0.2)
            if self.child.state != before:
                self._report_state()
            while message is not None and not self._stopping.is_set():
                if self._messages.put(message, timeout_seconds=0.2):
                    message = None
                    self._on_message()
        if self._stopping.is_set():
            self.child.stop()

    def _report_state(self) -> None:
        state, error = self.child.state, self.child.last_error
        self._log.info("capture", state=state, error=error)
        self._on_state(self.child.last_frame_ns, error or state)
