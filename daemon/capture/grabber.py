"""The capture process: reads a source, keeps the newest frame, and hands one over when asked.

The pipe first brings a `Begin`, which is answered with `Opening`. After it, each message asks for a frame, `ANEW` for
a whole one, and is answered with one `Message`; meanwhile, empty messages say that this process lives and gets on. A
process of its own can be killed when a read hangs, and its work runs on another core.
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
from .message import Begin, Ended, Failed, Frame, Message, Opening, Still
from .newest import EveryFrame, NewestFrame
from .pipe import ANEW, NEXT, MessagePipe
from .settings import SourceConfig
from .source import open_source
from .stamp import SECOND_NS, StampedFrame


class Grabber:
    """Answers each request with the next frame that is to be had, gated and with its picture.

    Raises:
        CaptureError: the source cannot be opened.
    """

    def __init__(self, begin: Begin, heart: Heart) -> None:
        self._config = begin.config
        source = open_source(begin, heart.got_on)
        self._frames = NewestFrame(source) if source.live else EveryFrame(source)
        self._gate = Gate(self._config.gate_levels, int(self._config.keep_seconds * SECOND_NS))
        self._clock = StreamClock(self._config)
        self._checksum, self._same_since = 0, time.monotonic()

    def begin_anew(self) -> None:
        """The next frame is new, whatever it shows: the daemon has let go of the one it would be compared with."""
        self._gate.reset()

    def next(self) -> Frame | Still | Ended:
        """One message.

        Raises:
            CaptureError: the source broke, or its picture is frozen.
        """
        taken = self._frames.take()
        if taken is None:
            return Ended()
        self._check_size(taken)
        self._check_frozen(taken)
        if self._clock.step_ns(taken):
            self._gate.reset()  # behind a gap no scene goes on
        when = (self._frames.dropped, taken.pts_ns, taken.arrived_ns, taken.recorded)
        if not self._gate.novel(taken.image, taken.pts_ns):
            return Still(taken.utc_ns, *when)
        height, width = taken.image.shape[:2]
        picture = _picture(taken, self._config)
        return Frame(taken.utc_ns, height, width, taken.image.tobytes(), picture, *when)

    def _check_size(self, frame: StampedFrame) -> None:
        (height, width), most = frame.image.shape[:2], self._config.frame_pixels
        if height * width > most:
            shown = mask_credentials(self._config.url)
            raise CaptureError(f"{shown}: its frames have {width} x {height} pixels; frame_pixels allows {most}")

    def _check_frozen(self, frame: StampedFrame) -> None:
        """Raises where a camera has sent the same bytes for too long; a real sensor's noise never repeats itself."""
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
    """Whether trying again makes sense: it may come back, as a file never does."""
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
        EOFError: the daemon has hung up; so do BrokenPipeError and ConnectionResetError say.
    """
    cv2.setNumThreads(1)
    heart.imported()
    encode = msgspec.msgpack.Encoder().encode
    begin = msgspec.msgpack.decode(pipe.receive() or b"", type=Begin)
    confine(begin.config)
    pipe.send(encode(Opening()))
    pipe.send(encode(_hand_over(pipe, begin, heart)))


def _hand_over(pipe: MessagePipe, begin: Begin, heart: Heart) -> Message:
    """Answers requests; returns the last message."""
    encode = msgspec.msgpack.Encoder().encode
    try:
        grabber = Grabber(begin, heart)
        while True:
            if bytes(pipe.receive() or NEXT) == ANEW:
                grabber.begin_anew()
            message = grabber.next()
            if isinstance(message, Ended):
                return message
            pipe.send(encode(message))
    except CaptureError as exc:
        return Failed(str(exc), final=not _is_camera(begin.config))
