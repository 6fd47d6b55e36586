"""`CaptureChild`: the daemon's side of a capture process, with its watchdogs."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

import msgspec

from ..errors import CaptureError
from .address import in_short, kind_of, mask_credentials, scheme_of
from .clock import StreamClock, gap_of
from .confinement import environment
from .message import Begin, Ended, Failed, Frame, Message, Opening, Sent, Still
from .noise import Noise
from .pipe import ANEW, LIVES, NEXT, MessagePipe
from .settings import SourceConfig
from .source import start_ns as source_start_ns
from .stamp import SECOND_NS, check_time, ticks_ns

_FIRST_PAUSE_SECONDS = 0.5
_SILENT_SECONDS = 30.0  # a process that imports says each second that it lives
_IMPORT_SECONDS = 300.0
_MOST_SECONDS = 3600.0  # that a process may read on in a recording, or wait in it, without a frame
_REAP_SECONDS = 2.0
_BESIDE_PIXELS = 16 << 20  # bytes of a frame's message: its picture, and a few numbers
# Importing OpenCV takes a core for a second: 64 at once would take each other's time until none seems to live.
_STARTS = threading.BoundedSemaphore(max(2, os.cpu_count() or 2))


class CaptureChild:
    """One source, read by a process that is killed and started again whenever it must be.

    Cameras are tried for ever, with growing pauses; a file or scene that cannot be read is given up. After a restart,
    a source at real pace goes on where the clock is, and what was missed is a gap; at pace `fast` a file or scene
    goes on where it was left, and nothing is missed. Belongs to one thread, except for its public counters. Nothing
    that the process does or leaves undone keeps that thread waiting for longer than it is told to.

    Args:
        start_ns: UTC of a file's or scene's second 0; where it is left out, the configuration's, or now.

    Attributes:
        state: `starting`, `watching`, `reconnecting`, `ended` or `failed`.
        last_error: one sentence, credentials masked; empty while all is well.
        frames: how many came; `dropped`: how many were let go since nobody took them; `restarts`: of the process.
        last_frame_ns: UTC of the newest frame, 0 before the first. Steps where the clock does.

    Raises:
        CaptureError: the address or the start time is none.
    """

    def __init__(self, config: SourceConfig, *, start_ns: int | None = None) -> None:
        self.config = config
        self.state = "starting"
        self.last_error = ""
        self.frames = self.dropped = self.restarts = 0
        self.last_frame_ns = 0
        self._shown = mask_credentials(config.url)
        self._waits = kind_of(config.url) in ("file", "scene") and config.pace == "fast"
        self.start_ns = source_start_ns(config) if start_ns is None else start_ns
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: MessagePipe | None = None
        self._clock = StreamClock(config)
        self._importing = False  # and so in possession of one of `_STARTS`
        self._began_at = 0.0
        self._noise: Noise | None = None
        self._credit = False  # a frame was asked for, and has not come
        self._anew = False  # the next is to be a whole one
        self._waiting_since = self._asked_at = 0.0
        self._seen = 0  # frames of this process
        self._dropped_before = 0  # by earlier processes
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
        """Before the first start: a file or scene was read up to this time by an earlier daemon."""
        if utc_ns >= self.start_ns:
            self._last_pts_ns = utc_ns - self.start_ns

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
            received = self._pipe.receive(timeout_seconds)
            if received is None or received == LIVES:
                self._check_life(received is not None)
                return None
            return self._take(_decode(received))
        except (EOFError, OSError) as exc:
            self._break(self._death(exc))
        except CaptureError as exc:
            self._break(f"{self._shown}: the capture process sent {exc}")
        return None

    def begin_anew(self) -> None:
        """The next frame that is asked for comes whole, whatever it shows. From any thread."""
        self._anew = True

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
        if not _STARTS.acquire(timeout=timeout_seconds):
            return False
        self._importing = True
        ours, theirs = socket.socketpair()
        self._pipe = MessagePipe(ours, 3 * self.config.frame_pixels + _BESIDE_PIXELS)
        self._noise = Noise()
        self._credit, self._seen = False, 0
        self._began_at = self._waiting_since = time.monotonic()
        with theirs:
            self._process = subprocess.Popen(
                # -P: a queue.py or the like in the folder the daemon was started in is not to be imported.
                [sys.executable, "-P", "-m", f"{__package__}.process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._noise.file,
                stderr=self._noise.file,
                process_group=0,  # Ctrl-C in the terminal is the daemon's to answer
                env=environment(),
            )
        self._pipe.send(msgspec.msgpack.encode(Begin(self.config, self.start_ns, self._after_ns())))
        return True

    def _after_ns(self) -> int:
        """How far the source has been read, or has run on without us."""
        if self._waits or not self.frames:
            return self._last_pts_ns
        return ticks_ns() - self._second_0

    def _ask(self, pipe: MessagePipe) -> None:
        if not self._credit and not self._importing:
            request = ANEW if self._anew else NEXT
            if request == ANEW:
                self._anew = False
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have said why before it ended
                pipe.send(request)
            self._credit = True
            if self._seen:  # before its first frame, a process is waited for since it began to open the source
                self._waiting_since = self._asked_at = time.monotonic()

    def _take(self, message: Sent) -> Message | None:
        """What a message means to whoever reads.

        Raises:
            CaptureError: it may not come now.
        """
        if isinstance(message, Opening):
            if not self._importing:
                raise CaptureError("twice that it opens the source")
            self._imported()
            self._waiting_since = self._asked_at = time.monotonic()
            return None
        if isinstance(message, Frame | Still):
            if not self._credit:
                raise CaptureError("a frame that nobody asked for")
            self._credit = False
            return self._take_frame(message)
        if isinstance(message, Ended):
            return self._finish("ended", message, "")
        meaning = "" if self._seen or self._noise is None else self._noise.meaning
        reason = f"{self._shown}: {meaning}" if meaning else in_short(message.reason)
        if message.final:
            return self._finish("failed", Failed(reason, final=True), reason)
        self._break(reason)
        return None

    def _take_frame(self, message: Frame | Still) -> Message:
        before = self.last_frame_ns
        step_ns = self._clock.step_ns(message)
        if message.arrived_ns:
            self._second_0 = message.arrived_ns - message.pts_ns
        self.frames += 1
        self._seen += 1
        self.dropped = self._dropped_before + message.dropped
        self.last_frame_ns, self._last_pts_ns = message.utc_ns, message.pts_ns
        self.state, self.last_error, self._pause = "watching", "", _FIRST_PAUSE_SECONDS
        if self._noise is not None:
            self._noise.clear()
        broken, self._broken = self._broken, ""
        if not before or not (step_ns or (broken and not self._waits)):
            return message
        self._next = message
        return gap_of(step_ns, before, message, broken)

    def _check_life(self, gets_on: bool) -> None:
        """Puts an end to a process that hangs; one that says that it gets on is given more time, where that can be."""
        now = time.monotonic()
        if gets_on and (self._importing or now - self._asked_at < self._most_seconds()):
            self._waiting_since = now
        if self._importing:
            if now - self._waiting_since > _SILENT_SECONDS or now - self._began_at > _IMPORT_SECONDS:
                self._break(f"{self._shown}: the capture process did not start in {now - self._began_at:.0f} s")
            return
        patience = self.config.stall_seconds + 1 / self.config.fps
        if not self._seen:
            patience += self.config.open_seconds
        if now - self._waiting_since > patience:
            self._break(f"{self._shown}: no frame for {patience:.0f} s")

    def _most_seconds(self) -> float:
        """For how long a process that says that it gets on is believed: as long as a recording may keep it busy.

        A camera has nothing to be busy with. What has been read of a recording may have to be read again at real pace.
        """
        if scheme_of(self.config.url) in ("rtsp", "rtsps") or kind_of(self.config.url) == "webcam":
            return 0.0
        again = 0.0 if self._seen else max(0, self._after_ns()) / SECOND_NS
        return _MOST_SECONDS + 1 / self.config.fps + again

    def _imported(self) -> None:
        """Lets the next process start."""
        if self._importing:
            self._importing = False
            _STARTS.release()

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
        self._imported()
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            _end(self._process)
        if self._noise is not None:
            self._noise.close()
        self._process = self._pipe = self._noise = None


def _decode(body: bytearray) -> Sent:
    """What a process has sent, which may be under a hostile camera's command.

    Raises:
        CaptureError: it is no message, or makes no sense.
    """
    try:
        message: Sent = msgspec.msgpack.decode(body, type=Sent)
    except msgspec.MsgspecError as exc:
        raise CaptureError(f"what is no message ({exc})") from exc
    if isinstance(message, Frame | Still):
        check_time(message.utc_ns, "a frame that")
    if isinstance(message, Frame) and not 0 < message.height * message.width * 3 == len(message.pixels):
        raise CaptureError(f"{len(message.pixels)} bytes for {message.width} x {message.height} pixels")
    return message


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills a process. One that the kernel does not let go, as with a dead network disk, is waited for elsewhere."""
    process.kill()
    try:
        process.wait(_REAP_SECONDS)
    except subprocess.TimeoutExpired:
        threading.Thread(target=process.wait, name="reaper", daemon=True).start()
