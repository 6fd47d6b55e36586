"""`NewestFrame` and `EveryFrame`: the two ways of taking frames from a source."""

from __future__ import annotations

import threading

from .source import Source
from .stamp import StampedFrame


class NewestFrame:
    """A slot for one frame, for live sources. A newer frame replaces an older one that nobody took.

    A thread reads the source all the time, so that nothing queues up in the driver or on the network.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._changed = threading.Condition()
        self._frame: StampedFrame | None = None
        self._over = False
        self._error: Exception | None = None
        self.dropped = 0
        threading.Thread(target=self._fill, name="newest-frame", daemon=True).start()

    def take(self) -> StampedFrame | None:
        """The newest frame not taken yet; waits for one. None after the last.

        Raises:
            CaptureError: the source broke; frames before that are handed over first.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._over)
            frame, self._frame = self._frame, None
            if frame is None and self._error is not None:
                raise self._error
            return frame

    def _fill(self) -> None:
        try:
            for frame in self._source:
                with self._changed:
                    self.dropped += self._frame is not None
                    self._frame = frame
                    self._changed.notify()
        except Exception as exc:  # handed to whoever takes
            self._error = exc
        with self._changed:
            self._over = True
            self._changed.notify()


class EveryFrame:
    """Frames one by one, each read when it is asked for. For sources that follow no clock."""

    dropped = 0

    def __init__(self, source: Source) -> None:
        self._frames = iter(source)

    def take(self) -> StampedFrame | None:
        """The next frame, or None after the last.

        Raises:
            CaptureError: the source broke.
        """
        return next(self._frames, None)
