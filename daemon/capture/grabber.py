"""The capture process: reads a source, keeps the newest frame, and hands one over when asked.

Started as `python -m longwatch.daemon.capture.grabber FD`, where FD is one end of a pipe that first brings the
configuration. Each empty message asks for a frame; each answer is one `Message`. A process of its own can be killed
when a read hangs, and its work runs on another core. Ends when the pipe does.
"""

from __future__ import annotations

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
from .message import Ended, Failed, Frame, Message, Still
from .settings import SourceConfig
from .source import SECOND_NS, Source, StampedFrame, open_source


class NewestFrame:
    """A slot for one frame: a newer one takes the place of an older that nobody took."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._changed = threading.Condition()
        self._frame: StampedFrame | None = None
        self._over: Message | None = None
        self.dropped = 0
        threading.Thread(target=self._fill, daemon=True).start()

    def take(self) -> StampedFrame | Message:
        """The newest frame not taken yet; waits for one. After the last: why there are no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._over is not None)
            frame, self._frame = self._frame, None
            if frame is not None:
                return frame
            assert self._over is not None
            return self._over

    def _fill(self) -> None:
        over: Message = Ended()
        try:
            for frame in self._source:
                with self._changed:
                    self.dropped += self._frame is not None
                    self._frame = frame
                    self._changed.notify()
        except CaptureError as exc:
            over = Failed(str(exc), final=False)
        with self._changed:
            self._over = over
            self._changed.notify()


class EveryFrame:
    """Frames one by one, each read when it is asked for."""

    dropped = 0

    def __init__(self, source: Source) -> None:
        self._frames = iter(source)

    def take(self) -> StampedFrame | Message:
        """The next frame, or why there is none."""
        try:
            return next(self._frames, None) or Ended()
        except CaptureError as exc:
            return Failed(str(exc), final=True)


class Grabber:
    """Answers each request with the next frame that is to be had, gated and with its picture."""

    def __init__(self, config: SourceConfig) -> None:
        self._config = config
        source = open_source(config)
        self._frames = NewestFrame(source) if source.live else EveryFrame(source)
        self._gate = Gate(config.gate_levels, int(config.keep_seconds * SECOND_NS))
        self._watch_frozen = source.live and config.frozen_seconds > 0
        self._checksum, self._same_since = 0, time.monotonic()

    def next(self) -> Message:
        """One message."""
        taken = self._frames.take()
        if not isinstance(taken, StampedFrame):
            return taken
        if self._watch_frozen and self._frozen(taken):
            shown = mask_credentials(self._config.url)
            return Failed(f"{shown}: the very same picture for {self._config.frozen_seconds:g} s", final=False)
        if not self._gate.novel(taken.image, taken.utc_ns):
            return Still(taken.utc_ns, self._frames.dropped)
        height, width = taken.image.shape[:2]
        return Frame(
            taken.utc_ns, height, width, taken.image.tobytes(), self._picture(taken), self._frames.dropped
        )

    def _frozen(self, frame: StampedFrame) -> bool:
        """Whether the same bytes have come for too long; a real sensor's noise never repeats itself."""
        checksum, now = zlib.crc32(frame.image), time.monotonic()
        if checksum != self._checksum:
            self._checksum, self._same_since = checksum, now
        return now - self._same_since >= self._config.frozen_seconds

    def _picture(self, frame: StampedFrame) -> bytes:
        height, width = frame.image.shape[:2]
        scale = min(1.0, self._config.picture_pixels / max(height, width))
        small = frame.image
        if scale < 1:
            small = cv2.resize(frame.image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
        _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, self._config.picture_quality])
        return data.tobytes()


def main() -> None:
    """The process's life."""
    cv2.setNumThreads(1)
    pipe = Connection(int(sys.argv[1]))
    config = msgspec.msgpack.decode(pipe.recv_bytes(), type=SourceConfig)
    encode = msgspec.msgpack.Encoder().encode
    try:
        grabber = Grabber(config)
        while True:
            pipe.recv_bytes()
            pipe.send_bytes(encode(grabber.next()))
    except CaptureError as exc:
        final = kind_of(config.url) in ("file", "scene")
        pipe.send_bytes(encode(Failed(str(exc), final)))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        pass


if __name__ == "__main__":
    main()
