"""`Ids`: gives blocks their ids, none of them twice, even if the process is killed.

The book holds a mark for each stream, and no id above it was ever given. The mark is raised many ids at a time, before
they are given, so that giving one costs nothing. After a kill nobody knows how many below the mark were given, so none
of them is given again: ids have holes.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping

from .book import Book
from .errors import StoreUnwritable

_AHEAD = 4096
_LEAP_EACH_NS = 1000  # an id for every microsecond: no stream has as many, so a lost book cannot have had a higher mark
_ANY_STREAM = "store.any"  # where the leap stands: it is for every stream that a new book does not know
_AGAIN_SECONDS = 1.0


class Ids:
    """Thread-safe.

    Args:
        on_disk: the highest id that each stream's days hold: a store without a book begins there.

    Attributes:
        error: why the mark cannot be raised, empty where it can.
    """

    def __init__(self, book: Book, on_disk: Mapping[str, int]) -> None:
        self._book, self._on_disk = book, dict(on_disk)
        self._given: dict[str, int] = {}
        self._marks: dict[str, int] = {}
        self._lock = threading.Lock()
        self._tried_at = 0.0
        self.error = ""
        if book.set_aside:
            book.raise_last_id(_ANY_STREAM, book.begun_ns // _LEAP_EACH_NS)

    def last_given(self, stream: str) -> int:
        """No block of the stream has a higher id."""
        with self._lock:
            return self._last(stream)

    def next(self, stream: str) -> int:
        """An id that no block of the stream has or ever had.

        Raises:
            StoreUnwritable: none is left, and the mark cannot be raised.
        """
        with self._lock:
            block_id = self._last(stream) + 1
            if block_id > self._marks.get(stream, 0):
                self._reserve(stream)
            self._given[stream] = block_id
            return block_id

    def has(self, stream: str, count: int) -> bool:
        """Whether so many ids can be given. Raises the mark when few are left."""
        with self._lock:
            if self._left(stream) < max(count, _AHEAD // 4) and (not self.error or self._is_time):
                with contextlib.suppress(StoreUnwritable):
                    self._reserve(stream)
            return self._left(stream) >= count

    def note(self, stream: str, block_id: int) -> None:
        """Somebody chose an id on his own: it is not given again."""
        with self._lock:
            self._given[stream] = max(self._last(stream), block_id)

    def settle(self) -> None:
        """Before a clean end: lowers the marks to what was given, so that no hole is left. A full disk leaves one."""
        with self._lock, contextlib.suppress(StoreUnwritable):
            for stream, given in self._given.items():
                if self._book.last_id(stream) != given:
                    self._book.settle_last_id(stream, given)
            self._marks.clear()

    @property
    def _is_time(self) -> bool:
        return time.monotonic() - self._tried_at >= _AGAIN_SECONDS

    def _left(self, stream: str) -> int:
        return self._marks.get(stream, 0) - self._last(stream)

    def _last(self, stream: str) -> int:
        if stream not in self._given:
            mark, on_disk = self._book.last_id(stream), self._on_disk.get(stream, 0)
            self._given[stream] = max(mark, on_disk) if mark else on_disk + self._book.last_id(_ANY_STREAM)
        return self._given[stream]

    def _reserve(self, stream: str) -> None:
        self._tried_at = time.monotonic()
        mark = self._last(stream) + _AHEAD
        try:
            self._book.raise_last_id(stream, mark)
        except StoreUnwritable as exc:
            self.error = str(exc)
            raise
        self._marks[stream] = mark
        self.error = ""
