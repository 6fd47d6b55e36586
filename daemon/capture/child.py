"""`CaptureChild`: a source that is read by a process of its own, which is started again whenever that is needed."""

from __future__ import annotations

import random
import time

from ..errors import CaptureError
from .address import in_short, kind_of, mask_credentials
from .clock import StreamClock, gap_of
from .message import CaptureTask, Frame, Message, Opening, ProcessMessage, SourceEnd, SourceFailure, StillFrame
from .patience import Patience
from .process import CaptureProcess
from .settings import SourceConfig
from .source import start_of
from .stamp import ticks_ns

_FIRST_PAUSE_SECONDS = 0.5


class CaptureChild:
    """Gives the messages of one source, whatever happens to the process that reads it.

    Cameras are tried for ever, with growing pauses; a file or scene that cannot be read is given up. After a restart,
    a source at real pace goes on where the clock is, and what was missed is a gap. At pace `fast`, a file or scene
    goes on where it was left, and nothing is missed. Belongs to one thread, except for its public counters. Whatever
    the process does, it keeps that thread waiting for no longer than `next` is told to.

    Args:
        start_ns: UTC of a file's or scene's second 0; by default the configuration's, or now.

    Attributes:
        state: `starting`, `watching`, `reconnecting`, `ended` or `failed`.
        last_error: one sentence, credentials masked; empty while all is well.
        frames: how many came; `dropped`: how many were dropped because nobody took them; `restarts`: of the process.
        last_frame_ns: UTC of the newest frame, 0 before the first. Steps where the clock does.

    Raises:
        CaptureError: the address or the start time is not valid.
    """

    def __init__(self, config: SourceConfig, *, start_ns: int | None = None) -> None:
        self.config = config
        self.state = "starting"
        self.last_error = ""
        self.frames = self.dropped = self.restarts = 0
        self.last_frame_ns = 0
        self._shown = mask_credentials(config.url)
        self._waits = kind_of(config.url) in ("file", "scene") and config.pace == "fast"
        self.start_ns = start_of(config) if start_ns is None else start_ns
        self._process: CaptureProcess | None = None
        self._patience = Patience(config, 0)  # of this process
        self._asked = False  # a frame was asked for, and has not come
        self._dropped_before = 0  # by earlier processes
        self._clock = StreamClock(config)
        self._whole = False  # the next frame is to be a whole one
        self._last_pts_ns, self._second_0 = -1, 0  # of the source; what `ticks_ns` said at its second 0
        self._pause, self._retry_at = _FIRST_PAUSE_SECONDS, 0.0
        self._broken = ""  # why there was no video, until there is again
        self._next: Message | None = None

    @property
    def over(self) -> bool:
        """Whether nothing will ever come again."""
        return self.state in ("ended", "failed")

    @property
    def pid(self) -> int | None:
        """The capture process, or None between two."""
        return None if self._process is None else self._process.pid

    def go_on_behind(self, utc_ns: int) -> None:
        """Before the first start: an earlier daemon has read a file or scene up to this time."""
        if utc_ns >= self.start_ns:
            self._last_pts_ns = utc_ns - self.start_ns

    def next(self, timeout_seconds: float) -> Message | None:
        """The next message, or None if the time is up first. `SourceFailure` comes only when it is final."""
        if self._next is not None:
            message, self._next = self._next, None
            return message
        if self.over:
            return None
        try:
            if self._process is None:
                self._process = self._start(timeout_seconds)
            return None if self._process is None else self._receive(self._process, timeout_seconds)
        except (EOFError, OSError) as exc:
            state = f"cannot be started ({exc})" if self._process is None else self._process.cause_of_death()
            self._break(f"the capture process {state}")
        except CaptureError as exc:
            self._break(f"the capture process sent {exc}")
        return None

    def ask_whole(self) -> None:
        """The next frame that is asked for comes whole, whatever it shows. From any thread."""
        self._whole = True

    def stop(self) -> None:
        """Ends the process; nothing comes any more."""
        self._end_process()
        if not self.over:
            self.state = "ended"

    def _start(self, timeout_seconds: float) -> CaptureProcess | None:
        """A new process once the pause is over, or None if the time is up first.

        Raises:
            OSError: no process can be started.
        """
        wait = self._retry_at - time.monotonic()
        if wait > 0:
            time.sleep(min(wait, timeout_seconds))
            return None
        task = CaptureTask(self.config, self.start_ns, self._after_ns())
        process = CaptureProcess.start(task, timeout_seconds)
        if process is not None:
            self._patience = Patience(self.config, task.after_ns)
            self._asked = False
        return process

    def _after_ns(self) -> int:
        """How far the source has been read, or has run on without us."""
        if self._waits or not self.frames:
            return self._last_pts_ns
        return ticks_ns() - self._second_0

    def _receive(self, process: CaptureProcess, timeout_seconds: float) -> Message | None:
        """Asks for a frame if none is on its way, and takes what comes.

        Raises:
            EOFError, OSError: the process has hung up.
            CaptureError: it has sent what it may not.
        """
        if not (self._patience.imports or self._asked):
            whole = self._whole
            if whole:
                self._whole = False  # only then: another thread may set it at any moment
            process.ask(whole=whole)
            self._asked = True
            self._patience.note_request()
        message = process.receive(timeout_seconds)
        if message is not None and not isinstance(message, bytes):
            return self._take(process, message)
        if message is not None:
            self._patience.note_progress()
        if complaint := self._patience.check():
            self._break(complaint)
        return None

    def _take(self, process: CaptureProcess, message: ProcessMessage) -> Message | None:
        """What a message means to the reader.

        Raises:
            CaptureError: it may not come now.
        """
        if isinstance(message, Opening):
            if not self._patience.imports:
                raise CaptureError("twice that it opens the source")
            process.note_imported()
            self._patience.note_opening()
            return None
        if isinstance(message, Frame | StillFrame):
            if not self._asked:
                raise CaptureError("a frame that nobody asked for")
            self._asked = False
            return self._take_frame(process, message)
        if isinstance(message, SourceEnd):
            return self._finish("ended", message, "")
        meaning = "" if self._patience.has_frame else process.noise.meaning
        reason = f"{self._shown}: {meaning}" if meaning else in_short(message.reason)
        if message.final:
            return self._finish("failed", SourceFailure(reason, final=True), reason)
        self._plan_restart(reason)
        return None

    def _take_frame(self, process: CaptureProcess, message: Frame | StillFrame) -> Message:
        """The frame itself, or the gap before it; then the frame comes next."""
        before = self.last_frame_ns
        step_ns = self._clock.measure_step(message)
        if message.arrived_ns:
            self._second_0 = message.arrived_ns - message.pts_ns
        self.frames += 1
        self.dropped = self._dropped_before + message.dropped
        self.last_frame_ns, self._last_pts_ns = message.utc_ns, message.pts_ns
        self.state, self.last_error, self._pause = "watching", "", _FIRST_PAUSE_SECONDS
        self._patience.note_frame()
        process.noise.clear()
        broken, self._broken = self._broken, ""
        if not before or not (step_ns or (broken and not self._waits)):
            return message
        self._next = message
        return gap_of(step_ns, before, message, broken)

    def _break(self, what: str) -> None:
        self._plan_restart(f"{self._shown}: {what}")

    def _plan_restart(self, reason: str) -> None:
        """Ends the process and plans the next attempt."""
        self._end_process()
        self.restarts += 1
        self.state, self.last_error = "reconnecting", reason
        self._broken = reason
        self._dropped_before = self.dropped
        pause = min(self._pause * random.uniform(0.8, 1.2), self.config.reconnect_seconds)
        self._retry_at = time.monotonic() + pause
        self._pause = min(self._pause * 2, self.config.reconnect_seconds)

    def _finish(self, state: str, message: Message, error: str) -> Message:
        self._end_process()
        self.state, self.last_error = state, error
        return message

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()
