"""`StoredTimes`: when each day of each stream was last written to, which may be long after its frames were seen."""

from __future__ import annotations

import contextlib
import threading

from .book import Book
from .days import Days
from .errors import StoreUnwritable

_EVERY_NS = 600_000_000_000  # exact enough for what is dropped after days, and cheap


class StoredTimes:
    """Kept in the book. For a day that the book does not know, its file's own time counts. Thread-safe.

    Attributes:
        newest_ns: the newest time that was known at the start, 0 where none was.
    """

    def __init__(self, book: Book, days: Days) -> None:
        self._book = book
        self._times = book.stored_ns()
        self._lock = threading.Lock()
        for stream, day, partition in days.all():
            if (stream, day) not in self._times:
                self._times[stream, day] = partition.file.changed_ns
        self.newest_ns = max(self._times.values(), default=0)

    def of(self, stream: str, day: str) -> int:
        """When the day was last written to, to ten minutes; 0 where nobody knows."""
        with self._lock:
            return self._times.get((stream, day), 0)

    def note(self, stream: str, day: str, now_ns: int) -> None:
        """The day was written to. If the book cannot be written, that is tried again with the next block."""
        with self._lock:
            if abs(now_ns - self._times.get((stream, day), 0)) < _EVERY_NS:
                return
        with contextlib.suppress(StoreUnwritable):
            self._book.note_stored({(stream, day): now_ns})
            with self._lock:
                self._times[stream, day] = now_ns

    def forget(self, stream: str, day: str) -> None:
        """The day is gone."""
        with self._lock:
            self._times.pop((stream, day), None)
        with contextlib.suppress(StoreUnwritable):  # a line too many in the book does no harm
            self._book.forget_day(stream, day)
