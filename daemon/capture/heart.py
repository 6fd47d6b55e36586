"""`Heart`: says that a capture process lives and gets on, while it has nothing else to say."""

from __future__ import annotations

import threading
import time

from .pipe import LIVES, MessagePipe

_BEAT_SECONDS = 1.0


class Heart:
    """A thread that sends an empty message each second in which the process got further.

    While it imports, each second counts: that the thread runs is all that can be said. Later only what `got_on` was
    called for counts, so that a read that hangs isn't hidden by a thread that doesn't.
    """

    def __init__(self, pipe: MessagePipe) -> None:
        self._pipe = pipe
        self._importing = True
        self._further = False
        threading.Thread(target=self._beat, name="heart", daemon=True).start()

    def got_on(self) -> None:
        """A recording was read a little further, or a pause in it is being waited for."""
        self._further = True

    def imported(self) -> None:
        """From now on only `got_on` counts."""
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
