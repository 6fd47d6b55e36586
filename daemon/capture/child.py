"""`CaptureChild`: the daemon's side of a capture process, with its watchdogs."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import IO

import msgspec

from .address import kind_of, mask_credentials
from .message import Ended, Failed, Frame, Gap, Message, Still
from .settings import SourceConfig

_FIRST_PAUSE_SECONDS = 0.5
_FFMPEG_SAYS = (  # what FFmpeg writes to stderr, and what it means to a user
    ("401 Unauthorized", "wrong user or password"),
    ("403 Forbidden", "access is forbidden to this user"),
    ("404 Not Found", "the server has no such stream"),
    ("moov atom not found", "the file is damaged or cut off"),
    ("Invalid data found", "it is not a video, or it is damaged"),
)


class CaptureChild:
    """One source, read by a process that is killed and started again whenever it must be.

    Live sources are tried for ever, with growing pauses; a file or scene that fails is given up. Belongs to one
    thread, except for its public counters.

    Attributes:
        state: `starting`, `watching`, `reconnecting`, `ended` or `failed`.
        last_error: one sentence, credentials masked; empty while all is well.
    """

    def __init__(self, config: SourceConfig) -> None:
        self.config = config
        self.state = "starting"
        self.last_error = ""
        self.frames = self.dropped = self.restarts = 0
        self.last_frame_ns = 0
        self._endless = kind_of(config.url) in ("network", "webcam")
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._stderr: IO[bytes] | None = None
        self._asked = False
        self._heard = 0.0
        self._pause, self._retry_at = _FIRST_PAUSE_SECONDS, 0.0
        self._broken = ""  # why there was no video, until there is again
        self._waiting: list[Message] = []

    @property
    def over(self) -> bool:
        """Whether nothing will ever come again."""
        return self.state in ("ended", "failed")

    def next(self, timeout_seconds: float) -> Message | None:
        """The next message, or None where the time is up first. `Failed` comes only when it is final."""
        if self._waiting:
            return self._waiting.pop(0)
        if self.over:
            return None
        if self._process is None and not self._start(timeout_seconds):
            return None
        assert self._pipe is not None
        try:
            if not self._asked:
                self._pipe.send_bytes(b"")
                self._asked = True
            if not self._pipe.poll(timeout_seconds):
                return self._check_stall()
            message = msgspec.msgpack.decode(self._pipe.recv_bytes(), type=Message)
        except (EOFError, OSError):
            return self._break("the capture process died")
        self._asked = False
        return self._take(message)

    def stop(self) -> None:
        """Ends the process; nothing comes any more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._pipe is not None:
            self._pipe.close()
        if self._stderr is not None:
            self._stderr.close()
        self._pipe = self._stderr = None

    def _start(self, timeout_seconds: float) -> bool:
        """Starts the process once its pause is over."""
        wait = self._retry_at - time.monotonic()
        if wait > 0:
            time.sleep(min(wait, timeout_seconds))
            return False
        ours, theirs = Pipe()
        self._stderr = tempfile.TemporaryFile()
        command = [sys.executable, "-m", f"{__package__}.grabber", str(theirs.fileno())]
        self._process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._stderr,
            stderr=self._stderr,
            env={**os.environ, "OPENCV_FFMPEG_DEBUG": "1", "OPENCV_FFMPEG_LOGLEVEL": "24"},
        )
        theirs.close()
        self._pipe, self._asked, self._heard = ours, False, time.monotonic()
        ours.send_bytes(msgspec.msgpack.encode(self.config))
        return True

    def _take(self, message: Message) -> Message | None:
        if isinstance(message, Frame | Still):
            return self._take_frame(message)
        if isinstance(message, Failed):
            reason = self._reason(message.reason)
            if message.final or not self._endless:
                return self._finish("failed", Failed(reason, final=True))
            return self._break(reason)
        if self._endless:
            return self._break(f"{mask_credentials(self.config.url)}: the stream broke off")
        return self._finish("ended", message)

    def _take_frame(self, message: Frame | Still) -> Message | None:
        self._heard, self._pause = time.monotonic(), _FIRST_PAUSE_SECONDS
        self.frames += 1
        self.dropped = message.dropped
        before, self.last_frame_ns = self.last_frame_ns, message.utc_ns
        self.state, self.last_error = "watching", ""
        if self._broken and before:
            gap = Gap(before, message.utc_ns, self._broken)
            self._waiting.append(message)
            self._broken = ""
            return gap
        self._broken = ""
        return message

    def _check_stall(self) -> None:
        patience = self.config.stall_seconds + (0 if self.state == "watching" else self.config.open_seconds)
        if time.monotonic() - self._heard > patience:
            self._break(f"{mask_credentials(self.config.url)}: no frame for {patience:g} s")

    def _break(self, reason: str) -> None:
        """Kills the process and plans the next attempt."""
        self.stop()
        self.restarts += 1
        self.state, self.last_error = "reconnecting", reason
        self._broken = reason
        self._retry_at = time.monotonic() + self._pause * random.uniform(0.8, 1.2)
        self._pause = min(self._pause * 2, self.config.reconnect_seconds)

    def _finish(self, state: str, message: Message) -> Message:
        self.stop()
        self.state = state
        self.last_error = message.reason if isinstance(message, Failed) else ""
        return message

    def _reason(self, told: str) -> str:
        """The child's sentence, or a better one from what FFmpeg wrote."""
        if self._stderr is not None:
            self._stderr.seek(0)
            noise = self._stderr.read().decode(errors="replace")
            for sign, meaning in _FFMPEG_SAYS:
                if sign in noise:
                    return f"{mask_credentials(self.config.url)}: {meaning}"
        return mask_credentials(told)
