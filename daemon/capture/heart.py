"""`Heart`: says for a capture process that it lives and gets on, while it has nothing else to say."""

from __future__ import annotations

import threading
import time

from .pipe import LIVES, MessagePipe

_BEAT_SECONDS = 1.0


class Heart:
    """A thread that sends an empty message each second in which the process got further.

    While the process imports, it counts as progress that this thread runs. Later, only calls of `note_progress` count:
    otherwise this thread, which never hangs, would hide a read that does.
    """

    def __init__(self, pipe: MessagePipe) -> None:
        self._pipe = pipe
        self._importing = True
        self._further = False
        threading.Thread(target=self._beat, name="heart", daemon=True).start()

    def note_progress(self) -> None:
        """A recording was read a little further, or we wait for a pause in it to pass."""
        self._further = True

    def note_imported(self) -> None:
        """From now on only `note_progress` counts."""
        self._importing = False

    def _beat(self) -> None:
        while True:
            time.sleep(_BEAT_SECONDS)
            if not (self._importing or self._further):
                continue
            self._further = False
            try:
                self._pipe.send(LIVES)
            except OSError:
                return  # the daemon has hung up
