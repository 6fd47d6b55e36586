"""`Watchdog`: what goes wrong without any thread having died: an engine that is stuck, a store that cannot write."""

from __future__ import annotations

import re
import time

from ..memory.store import Store
from .log import get_logger
from .supervised import SupervisedThread

_STUCK_SECONDS = 30.0
_log = get_logger("watchdog")


class Watchdog:
    """Logs each trouble once, when it begins. `note_turn` belongs to the engine's thread, `look` to the main thread."""

    def __init__(self, engine: SupervisedThread, store: Store) -> None:
        self._engine, self._store = engine, store
        self._turned_at = time.monotonic()
        self._logged_turn = 0.0  # the turn that was last logged as stuck
        self._trouble = ""  # of the store, as it was last logged

    def note_turn(self) -> None:
        """The engine begins a turn."""
        self._turned_at = time.monotonic()

    @property
    def engine_moves(self) -> bool:
        """Whether the engine's thread runs, and its present turn has not taken far longer than any should."""
        return self._engine.alive and time.monotonic() - self._turned_at <= _STUCK_SECONDS

    def look(self) -> None:
        """Logs what has changed since the last look."""
        if self._engine.alive and not self.engine_moves and self._logged_turn != self._turned_at:
            self._logged_turn = self._turned_at
            _log.error("the engine does not move", seconds=_STUCK_SECONDS, where=self._engine.stack)
        error = self._store.error
        gist = re.sub(r"\d+", "", error)  # how many bytes are free changes while the disk is full
        before, self._trouble = self._trouble, gist
        if gist and gist != before:
            blocks = self._store.writer.queue_size.blocks
            _log.error("nothing is written; blocks wait in RAM", error=error, blocks=blocks)
        elif before and not gist:
            _log.info("blocks are written again")
