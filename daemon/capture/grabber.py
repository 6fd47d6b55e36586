"""`Grabber`: what a capture process does. It reads a source, keeps the newest frame, and hands one over when asked.

The pipe first brings a `CaptureTask`, and the answer is `Opening`. Each later message asks for a frame, `WHOLE` for a
whole one, and the answer is one message. Meanwhile, empty messages say that this process lives and gets on.
A process of its own can be killed when a read hangs, and its work runs on another core.
"""

from __future__ import annotations

import time
import zlib

import cv2
import msgspec

from ..errors import CaptureError
from .address import kind_of, mask_credentials
from .clock import StreamClock
from .confinement import confine
from .gate import Gate
from .heart import Heart
from .message import CaptureTask, Frame, Message, Opening, SourceEnd, SourceFailure, StillFrame
from .newest import EveryFrame, NewestFrame
from .pipe import NEXT, WHOLE, MessagePipe
from .settings import SourceConfig
from .source import open_source
from .stamp import SECOND_NS, StampedFrame


class Grabber:
    """Answers each request with the next frame: whole and with its picture if it is new, otherwise only its time.

    Raises:
        CaptureError: the source cannot be opened.
    """

    def __init__(self, task: CaptureTask, heart: Heart) -> None:
        self._config = task.config
        source = open_source(task, heart.note_progress)
        self._frames = NewestFrame(source) if source.live else EveryFrame(source)
        self._gate = Gate(self._config.gate_levels, int(self._config.keep_seconds * SECOND_NS))
        self._clock = StreamClock(self._config)
        self._checksum, self._same_since = 0, time.monotonic()

    def ask_whole(self) -> None:
        """The next frame is new, whatever it shows: the daemon has forgotten the one it would be compared with."""
        self._gate.reset()

    def next(self) -> Frame | StillFrame | SourceEnd:
        """One message.

        Raises:
            CaptureError: the source broke, or its picture is frozen.
        """
        taken = self._frames.take()
        if taken is None:
            return SourceEnd()
        self._check_size(taken)
        self._check_frozen(taken)
        if self._clock.measure_step(taken):
            self._gate.reset()  # no scene goes on behind a gap
        when = (self._frames.dropped, taken.pts_ns, taken.arrived_ns, taken.recorded)
        if not self._gate.is_new(taken.image, taken.pts_ns):
            return StillFrame(taken.utc_ns, *when)
        height, width = taken.image.shape[:2]
        picture = _picture(taken, self._config)
        return Frame(taken.utc_ns, height, width, taken.image.tobytes(), picture, *when)

    def _check_size(self, frame: StampedFrame) -> None:
        (height, width), most = frame.image.shape[:2], self._config.frame_pixels
        if height * width > most:
            shown = mask_credentials(self._config.url)
            raise CaptureError(f"{shown}: its frames have {width} x {height} pixels; frame_pixels allows {most}")

    def _check_frozen(self, frame: StampedFrame) -> None:
        """Raises if a camera has sent the same bytes for too long. A real sensor's noise never repeats itself."""
        allowed = self._config.frozen_seconds
        if not allowed or not _is_camera(self._config):
            return
        checksum, now = zlib.crc32(frame.image.tobytes()), time.monotonic()
        if checksum != self._checksum:
            self._checksum, self._same_since = checksum, now
        elif now - self._same_since >= allowed:
            shown = mask_credentials(self._config.url)
            raise CaptureError(f"{shown}: the picture is frozen; it was the very same for {allowed:g} s")


def _is_camera(config: SourceConfig) -> bool:
    """Whether it makes sense to try again: a camera may come back, and a file never does."""
    return kind_of(config.url) in ("network", "webcam")


def _picture(frame: StampedFrame, config: SourceConfig) -> bytes:
    height, width = frame.image.shape[:2]
    scale = min(1.0, config.picture_pixels / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = frame.image if scale == 1 else cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, config.picture_quality])
    return bytes(data)


def serve(pipe: MessagePipe, heart: Heart) -> None:
    """Answers the daemon until there is nothing more to hand over.

    Raises:
        EOFError, BrokenPipeError, ConnectionResetError: the daemon has hung up.
    """
    cv2.setNumThreads(1)
    heart.note_imported()
    encode = msgspec.msgpack.Encoder().encode
    task = msgspec.msgpack.decode(pipe.receive() or b"", type=CaptureTask)
    confine(task.config)
    pipe.send(encode(Opening()))
    pipe.send(encode(_hand_over(pipe, task, heart)))


def _hand_over(pipe: MessagePipe, task: CaptureTask, heart: Heart) -> Message:
    """Answers requests; returns the last message."""
    encode = msgspec.msgpack.Encoder().encode
    try:
        grabber = Grabber(task, heart)
        while True:
            if bytes(pipe.receive() or NEXT) == WHOLE:
                grabber.ask_whole()
            message = grabber.next()
            if isinstance(message, SourceEnd):
                return message
            pipe.send(encode(message))
    except CaptureError as exc:
        return SourceFailure(str(exc), final=not _is_camera(task.config))
