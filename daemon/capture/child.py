"""`CaptureChild`: the daemon's side of a capture process, with its watchdogs."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import msgspec

from .address import kind_of, mask_credentials
from .message import Begin, Ended, Failed, Frame, Gap, Message, Still
from .noise import Noise
from .settings import SourceConfig
from .source import start_ns

_FIRST_PAUSE_SECONDS = 0.5


class CaptureChild:
    """One source, read by a process that is killed and started again whenever it must be.

    Cameras are tried for ever, with growing pauses; a file or scene that cannot be read is given up. After a restart,
    a source at real pace goes on where the clock is, and what was missed is a gap; at pace `fast` a file or scene
    goes on where it was left, and nothing is missed. Belongs to one thread, except for its public counters.

    Attributes:
        state: `starting`, `watching`, `reconnecting`, `ended` or `failed`.
        last_error: one sentence, credentials masked; empty while all is well.
        frames: how many came; `dropped`: how many were let go since nobody took them; `restarts`: of the process.
        last_frame_ns: UTC of the newest frame, 0 before the first. Never runs backwards.

    Raises:
        CaptureError: the address or the start time is none.
    """

    def __init__(self, config: SourceConfig) -> None:
        self.config = config
        self.state = "starting"
        self.last_error = ""
        self.frames = self.dropped = self.restarts = 0
        self.last_frame_ns = 0
        self._shown = mask_credentials(config.url)
        self._waits = kind_of(config.url) in ("file", "scene") and config.pace == "fast"
        self._start_ns = start_ns(config)
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection[Any, Any] | None = None
        self._noise: Noise | None = None
        self._credit = False  # a frame was asked for, and has not come
        self._waiting_since = 0.0
        self._seen = 0  # frames of this process
        self._dropped_before = 0  # by earlier processes
        self._last_pts_ns, self._began = -1, 0  # of the source; the clock at its second 0
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

    def next(self, timeout_seconds: float) -> Message | None:
        """The next message, or None where the time is up first. `Failed` comes only when it is final."""
        if self._next is not None:
            message, self._next = self._next, None
            return message
        if self.over:
            return None
        try:
            if self._process is None and not self._start(timeout_seconds):
                return None
            assert self._pipe is not None, "a process that runs has a pipe"
            self._ask(self._pipe)
            if not self._pipe.poll(timeout_seconds):
                self._check_stall()
                return None
            received = msgspec.msgpack.decode(self._pipe.recv_bytes(), type=Message)
        except (EOFError, OSError) as exc:
            self._break(self._death(exc))
            return None
        self._credit = False
        return self._take(received)

    def stop(self) -> None:
        """Ends the process; nothing comes any more."""
        self._kill()
        if not self.over:
            self.state = "ended"

    def _start(self, timeout_seconds: float) -> bool:
        """Starts the process once its pause is over.

        Raises:
            OSError: no process can be started.
        """
        wait = self._retry_at - time.monotonic()
        if wait > 0:
            time.sleep(min(wait, timeout_seconds))
            return False
        self._pipe, theirs = Pipe()
        self._noise = Noise()
        self._credit, self._seen, self._waiting_since = False, 0, time.monotonic()
        with theirs:
            self._process = subprocess.Popen(
                # -P: a queue.py or the like in the folder the daemon was started in is not to be imported.
                [sys.executable, "-P", "-m", f"{__package__}.grabber", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._noise.file,
                stderr=self._noise.file,
                process_group=0,  # Ctrl-C in the terminal is the daemon's to answer
                env={**os.environ, "OPENCV_FFMPEG_DEBUG": "1", "OPENCV_FFMPEG_LOGLEVEL": "24"},
            )
        self._pipe.send_bytes(msgspec.msgpack.encode(Begin(self.config, self._start_ns, self._after_ns())))
        return True

    def _after_ns(self) -> int:
        """How far the source has been read, or has run on without us."""
        if self._waits or self._last_pts_ns < 0:
            return self._last_pts_ns
        return time.monotonic_ns() - self._began

    def _ask(self, pipe: Connection[Any, Any]) -> None:
        if not self._credit:
            pipe.send_bytes(b"")
            self._credit = True
            if self._seen:  # before its first frame, a process is waited for since its start
                self._waiting_since = time.monotonic()

    def _take(self, message: Message) -> Message | None:
        if isinstance(message, Frame | Still):
            return self._take_frame(message)
        if isinstance(message, Ended):
            return self._finish("ended", message, "")
        assert isinstance(message, Failed), f"a process never sends {message!r}"
        meaning = "" if self._seen or self._noise is None else self._noise.meaning
        reason = f"{self._shown}: {meaning}" if meaning else mask_credentials(message.reason)
        if message.final:
            return self._finish("failed", Failed(reason, final=True), reason)
        self._break(reason)
        return None

    def _take_frame(self, message: Frame | Still) -> Message:
        before = self.last_frame_ns
        if message.utc_ns <= before:  # the machine's clock was set back
            message = msgspec.structs.replace(message, utc_ns=before + 1)
        if not self.frames:
            self._began = time.monotonic_ns() - message.pts_ns
        self.frames += 1
        self._seen += 1
        self.dropped = self._dropped_before + message.dropped
        self.last_frame_ns, self._last_pts_ns = message.utc_ns, message.pts_ns
        self.state, self.last_error, self._pause = "watching", "", _FIRST_PAUSE_SECONDS
        if self._noise is not None:
            self._noise.clear()
        broken, self._broken = self._broken, ""
        if not broken or not before or self._waits:
            return message
        self._next = message
        return Gap(before, message.utc_ns, broken)

    def _check_stall(self) -> None:
        patience = self.config.stall_seconds + 1 / self.config.fps
        if not self._seen:
            patience += self.config.open_seconds
        if time.monotonic() - self._waiting_since > patience:
            self._break(f"{self._shown}: no frame for {patience:.0f} s")

    def _death(self, exc: Exception) -> str:
        """Why the process is gone."""
        if self._process is None:
            return f"{self._shown}: the capture process cannot be started ({exc})"
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return f"{self._shown}: the capture process hung up"
        said = self._noise.last_line if self._noise is not None else ""
        how = signal.Signals(-code).name if code < 0 else mask_credentials(said) or f"exit code {code}"
        return f"{self._shown}: the capture process died ({how})"

    def _break(self, reason: str) -> None:
        """Kills the process and plans the next attempt."""
        self._kill()
        self.restarts += 1
        self.state, self.last_error = "reconnecting", reason
        self._broken = reason
        self._dropped_before = self.dropped
        pause = min(self._pause * random.uniform(0.8, 1.2), self.config.reconnect_seconds)
        self._retry_at = time.monotonic() + pause
        self._pause = min(self._pause * 2, self.config.reconnect_seconds)

    def _finish(self, state: str, message: Message, error: str) -> Message:
        self._kill()
        self.state, self.last_error = state, error
        return message

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._pipe is not None:
            self._pipe.close()
        if self._noise is not None:
            self._noise.close()
        self._process = self._pipe = self._noise = None
