"""`CaptureProcess`: a process that reads a source, and the daemon's end of the pipe to it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading

import msgspec

from .address import mask_credentials
from .confinement import environment
from .message import CaptureTask, ProcessMessage, decode
from .noise import Noise
from .pipe import LIVES, NEXT, WHOLE, MessagePipe

_REAP_SECONDS = 2.0
_BESIDE_PIXELS = 16 << 20  # bytes of a frame's message: its picture, and a few numbers
# Importing OpenCV takes a core for a second. If 64 processes started at once, none would get on fast enough.
_START_SLOTS = threading.BoundedSemaphore(max(2, os.cpu_count() or 2))


class CaptureProcess:
    """Made by `start`, ended by `end`. Belongs to one thread, and never keeps it waiting for longer than it is told to.

    Attributes:
        noise: what the process and its libraries write to stdout and stderr.
    """

    def __init__(self, task: CaptureTask) -> None:
        self._holds_slot = True  # one of `_START_SLOTS`
        with contextlib.ExitStack() as failed:
            self.noise = Noise()
            failed.callback(self.noise.close)
            ours, theirs = socket.socketpair()
            self._pipe = MessagePipe(ours, 3 * task.config.frame_pixels + _BESIDE_PIXELS)
            failed.callback(self._pipe.close)
            with theirs:
                self._process = _start_program(theirs, self.noise)
            self._send(msgspec.msgpack.encode(task))
            failed.pop_all()

    @classmethod
    def start(cls, task: CaptureTask, timeout_seconds: float) -> CaptureProcess | None:
        """Starts a process, or returns None if too many others are starting all this time.

        Raises:
            OSError: no process can be started.
        """
        if not _START_SLOTS.acquire(timeout=timeout_seconds):
            return None
        try:
            return cls(task)
        except BaseException:
            _START_SLOTS.release()
            raise

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def ask(self, *, whole: bool) -> None:
        """Asks for a frame; for a whole one, whatever it shows."""
        self._send(WHOLE if whole else NEXT)

    def receive(self, timeout_seconds: float) -> ProcessMessage | bytes | None:
        """The next message; `LIVES` if the process only says that it lives; None if the time is up first.

        Raises:
            EOFError, OSError: the process has hung up; see `cause_of_death`.
            CaptureError: it has sent something else than a message.
        """
        received = self._pipe.receive(timeout_seconds)
        if received is None:
            return None
        return LIVES if received == LIVES else decode(received)

    def note_imported(self) -> None:
        """It has imported what takes long: another process may start."""
        if self._holds_slot:
            self._holds_slot = False
            _START_SLOTS.release()

    def cause_of_death(self) -> str:
        """Why the process is gone, after it has hung up."""
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "hung up"
        how = signal.Signals(-code).name if code < 0 else mask_credentials(self.noise.last_line) or f"exit code {code}"
        return f"died ({how})"

    def end(self) -> None:
        """Kills the process.

        A process that the kernel does not let go, say because it reads from a dead network disk, gets a thread that
        waits for it.
        """
        self.note_imported()
        self._pipe.close()
        self.noise.close()
        self._process.kill()
        try:
            self._process.wait(_REAP_SECONDS)
        except subprocess.TimeoutExpired:
            threading.Thread(target=self._process.wait, name="reaper", daemon=True).start()

    def _send(self, message: bytes) -> None:
        # A process that has ended may have said why before. What it said is still to be received.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._pipe.send(message)


def _start_program(end: socket.socket, noise: Noise) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # -P: a queue.py or the like in the folder where the daemon was started must not be imported.
        [sys.executable, "-P", "-m", f"{__package__}.program", str(end.fileno())],
        pass_fds=[end.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=noise.file,
        stderr=noise.file,
        process_group=0,  # Ctrl-C in the terminal is for the daemon alone
        env=environment(),
    )
