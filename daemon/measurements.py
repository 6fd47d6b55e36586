"""`Measurements`: figures for the status that take long to find, measured on a thread of their own."""

from __future__ import annotations

import threading
from typing import NamedTuple

import psutil

from ..memory.errors import StorageError
from ..memory.store import Store, StoreStats
from .log import get_logger
from .supervised import SupervisedThread

_EVERY_SECONDS = 1.0
_log = get_logger("measurements")


class Measurement(NamedTuple):
    """What one measurement found."""

    store: StoreStats
    process_bytes: int


class Measurements:
    """Measures about once a second. If a figure cannot be had, say because no file can be opened, the last one stays.

    Attributes:
        newest: from any thread.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stopping = threading.Event()
        self._thread = SupervisedThread("measurements", self._run)
        self.newest = Measurement(StoreStats(0, 0, ""), 0)
        self._measure()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.alive

    def start(self) -> None:
        """Starts to measure, or starts again if the thread has died."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stopping.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY_SECONDS):
            self._measure()

    def _measure(self) -> None:
        store, process_bytes = self.newest
        try:
            store = self._store.stats
            process_bytes = psutil.Process().memory_info().rss
        except (OSError, psutil.Error, StorageError) as exc:
            _log.debug("not measured", error=str(exc))
        self.newest = Measurement(store, process_bytes)
