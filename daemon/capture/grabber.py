"""The capture process: reads a source, keeps the newest frame, and hands one over when asked.

Started as `python -m longwatch.daemon.capture.grabber FD`, where FD is one end of a pipe that first brings a `Begin`.
After it, each empty message asks for a frame; each answer is one `Message`. A process of its own can be killed when a
read hangs, and its work runs on another core. Ends when the pipe does, or its parent.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import zlib
from multiprocessing.connection import Connection

import cv2
import msgspec

from ..errors import CaptureError
from .address import kind_of, mask_credentials
from .gate import Gate
from .message import Begin, Ended, Failed, Frame, Message, Still
from .newest import EveryFrame, NewestFrame
from .settings import SourceConfig
from .source import open_source
from .stamp import SECOND_NS, StampedFrame


class Grabber:
    """Answers each request with the next frame that is to be had, gated and with its picture.

    Raises:
        CaptureError: the source cannot be opened.
    """

    def __init__(self, begin: Begin) -> None:
        self._config = begin.config
        source = open_source(begin)
        self._frames = NewestFrame(source) if source.live else EveryFrame(source)
        self._gate = Gate(self._config.gate_levels, int(self._config.keep_seconds * SECOND_NS))
        self._checksum, self._same_since = 0, time.monotonic()

    def next(self) -> Frame | Still | Ended:
        """One message.

        Raises:
            CaptureError: the source broke, or its picture is frozen.
        """
        taken = self._frames.take()
        if taken is None:
            return Ended()
        self._check_frozen(taken)
        dropped = self._frames.dropped
        if not self._gate.novel(taken.image, taken.utc_ns):
            return Still(taken.utc_ns, dropped, taken.pts_ns)
        height, width = taken.image.shape[:2]
        picture = _picture(taken, self._config)
        return Frame(taken.utc_ns, height, width, taken.image.tobytes(), picture, dropped, taken.pts_ns)

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


def _end_with_parent(parent: int) -> None:
    """Ends this process once its parent is gone, even while a read hangs that nothing else could end."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


def _serve(pipe: Connection, begin: Begin) -> Message:
    """Answers requests until there is nothing more to hand over; returns the last message."""
    encode = msgspec.msgpack.Encoder().encode
    try:
        grabber = Grabber(begin)
        while True:
            pipe.recv_bytes()
            message = grabber.next()
            if isinstance(message, Ended):
                return message
            pipe.send_bytes(encode(message))
    except CaptureError as exc:
        return Failed(str(exc), final=not _is_camera(begin.config))


def main() -> None:
    """The process's life."""
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    cv2.setNumThreads(1)
    pipe = Connection(int(sys.argv[1]))
    try:
        begin = msgspec.msgpack.decode(pipe.recv_bytes(), type=Begin)
        pipe.send_bytes(msgspec.msgpack.encode(_serve(pipe, begin)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the daemon has hung up


if __name__ == "__main__":
    main()
