"""`Patience`: finds out when a capture process hangs."""

from __future__ import annotations

import time

from .address import kind_of, scheme_of
from .settings import SourceConfig
from .stamp import SECOND_NS

_SILENT_SECONDS = 30.0  # a process that imports says each second that it lives
_IMPORT_SECONDS = 300.0
_MOST_SECONDS = 3600.0  # a process may read on in a recording, or wait in it, for so long without a frame


class Patience:
    """Watches one process from its start on. A process is waited for in three ways, one after another:

        while it imports, it must say each second that it lives, and be done within minutes;
        until its first frame, it may take as long as opening a source may take;
        between two frames, it may take as long as a source may stall.

    While a process reads on in a recording, or waits for a pause in it to pass, it says that it gets on. Then the
    waiting begins again, but not for ever.

    Args:
        again_ns: how much of a recording the process may have to read again before its first frame.

    Attributes:
        imports: whether the process is still importing.
        has_frame: whether a frame has come.
    """

    def __init__(self, config: SourceConfig, again_ns: int) -> None:
        self._config = config
        self._again_seconds = max(0, again_ns) / SECOND_NS
        self._began_at = self._waiting_since = self._asked_at = time.monotonic()
        self.imports, self.has_frame = True, False

    def note_opening(self) -> None:
        """The process has imported all it needs and opens its source."""
        self.imports = False
        self._waiting_since = self._asked_at = time.monotonic()

    def note_request(self) -> None:
        """The process was asked for a frame. Up to its first frame, opening the source counts, and not this."""
        if self.has_frame:
            self._waiting_since = self._asked_at = time.monotonic()

    def note_frame(self) -> None:
        """A frame has come."""
        self.has_frame = True

    def note_progress(self) -> None:
        """The process says that it gets on."""
        now = time.monotonic()
        if self.imports or now - self._asked_at < self._most_seconds():
            self._waiting_since = now

    def check(self) -> str:
        """What is wrong with the process; empty while it may still be waited for."""
        now = time.monotonic()
        if self.imports:
            life, silence = now - self._began_at, now - self._waiting_since
            late = silence > _SILENT_SECONDS or life > _IMPORT_SECONDS
            return f"the capture process did not start in {life:.0f} s" if late else ""
        patience = self._config.stall_seconds + 1 / self._config.fps
        if not self.has_frame:
            patience += self._config.open_seconds
        return f"no frame for {patience:.0f} s" if now - self._waiting_since > patience else ""

    def _most_seconds(self) -> float:
        """For how long a process is believed that says that it gets on.

        A camera has nothing to be busy with. What was read of a recording may have to be read again at real pace.
        """
        url = self._config.url
        if scheme_of(url) in ("rtsp", "rtsps") or kind_of(url) == "webcam":
            return 0.0
        again_seconds = 0.0 if self.has_frame else self._again_seconds
        return _MOST_SECONDS + 1 / self._config.fps + again_seconds
