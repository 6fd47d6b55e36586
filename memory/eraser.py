"""`Eraser`: what is to be forgotten is gone from every file, whatever comes in between.

promise ─ into the book ─┐            a crash after this point changes nothing
carry out: hide ─ out of the queue, and not found on disk any more; the index files that hold it go
           erase ─ days that held nothing else are deleted, others written anew; files set aside go too
           ─ out of the book
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from .book import Book, Erasure
from .days import Days
from .errors import BlockNotFound, StorageError, StoreUnwritable
from .folder import broken_files, day_span, sync_folder, unread_span
from .ids import Ids
from .partition import Partition
from .writer import Writer

_LATEST_NS = 2**63 - 1
_CLOSE_SECONDS = 60.0
_Span = tuple[str, int, int]


class Eraser:
    """Thread-safe; one erasure is carried out at a time.

    Attributes:
        error: why something of the rest could not be carried out when it was last tried, empty where all was.
    """

    def __init__(self, folder: Path, days: Days, writer: Writer, ids: Ids, book: Book) -> None:
        self._folder, self._days, self._writer, self._ids, self._book = folder, days, writer, ids, book
        self._pending = {erasure.number: erasure for erasure in book.erasures()}
        self._erased: dict[int, set[int]] = {}  # by each erasure, in this life of the store
        self._in_hand: set[int] = set()  # somebody will carry these out, or is about it
        self._owed: dict[_Span, set[int]] = {}  # what went later than it was asked for, for who asks again
        self.error = ""
        self._lock = threading.Lock()  # over the dictionaries
        self._working = threading.Lock()

    @property
    def pending(self) -> list[Erasure]:
        """What is promised and not yet carried out, oldest first."""
        with self._lock:
            return list(self._pending.values())

    def promise(self, stream: str, since_ns: int | None, until_ns: int | None) -> Erasure:
        """Notes for good that all blocks so far that touch a time are to be erased; None is open.

        Raises:
            StoreUnwritable: it could not be noted; nothing is forgotten.
        """
        since, until = since_ns or 0, _LATEST_NS if until_ns is None else until_ns
        erasure = self._book.add_erasure(stream, since, until, self._ids.last_given(stream))
        with self._lock:
            others = [old for old in self._pending.values() if old.number not in self._in_hand]
            same = [old for old in others if _span(old) == _span(erasure)]
            self._pending[erasure.number] = erasure
            self._in_hand.add(erasure.number)
            self._erased[erasure.number] = self._owed.pop(_span(erasure), set())
            for old in same:  # it was tried before: what that erased counts, and the newer does the rest
                self._erased[erasure.number] |= self._erased.pop(old.number, set())
                del self._pending[old.number]
        for old in same:
            self._book.end_erasure(old)
        return erasure

    def hide(self) -> None:
        """At the start, before anybody looks: whatever is to be erased is not found."""
        for erasure in self.pending:
            self._hide(erasure)

    def carry_out(self, erasure: Erasure) -> list[int]:
        """Erases what was promised. Returns the ids of all blocks that are gone by it, earlier attempts' too.

        Raises:
            StorageError: not all could be erased; nothing of it is found any more, and it stays in the book.
        """
        with self._working:
            try:
                self._carry_out(erasure)
            except (StorageError, OSError) as exc:
                with self._lock:
                    self._in_hand.discard(erasure.number)
                if isinstance(exc, StorageError):
                    raise
                raise StoreUnwritable(f"{exc.filename} cannot be removed: {exc.strerror}") from exc
            with self._lock:
                self._pending.pop(erasure.number, None)
                self._in_hand.discard(erasure.number)
                return sorted(self._erased.pop(erasure.number, set()))

    def release(self, erasure: Erasure) -> None:
        """Whoever was to carry it out cannot: it belongs to the rest."""
        with self._lock:
            self._in_hand.discard(erasure.number)

    def close(self) -> bool:
        """Waits a while for an erasure under way, and begins no more; the next life goes on with what is left.

        Returns:
            whether nothing is under way any more.
        """
        return self._working.acquire(timeout=_CLOSE_SECONDS)

    def carry_out_rest(self) -> dict[str, list[int]]:
        """Tries again whatever failed before. Returns the ids that are gone now, by stream; `error` tells the rest."""
        gone: dict[str, list[int]] = {}
        self.error = ""
        for erasure in self.pending:
            with self._lock:
                if erasure.number in self._in_hand:
                    continue
                self._in_hand.add(erasure.number)
            try:
                ids = self.carry_out(erasure)
            except StorageError as exc:
                self.error = self.error or str(exc)
                continue
            gone.setdefault(erasure.stream, []).extend(ids)
            with self._lock:
                self._owed.setdefault(_span(erasure), set()).update(ids)
        return gone

    def _carry_out(self, erasure: Erasure) -> None:
        failed: list[StorageError] = []
        for day, ids in self._hide(erasure).items():
            partition = self._days.find(erasure.stream, day)
            try:
                if partition is not None:
                    with contextlib.suppress(BlockNotFound):  # the day was dropped meanwhile
                        self._erase(erasure.stream, partition, ids)
            except StorageError as exc:  # the other days are erased all the same
                failed.append(exc)
                continue
            self._erased.setdefault(erasure.number, set()).update(ids)
        self._days.delete_leftovers(erasure.stream)
        self._erase_broken(erasure)
        if failed:
            raise failed[0]
        self._book.end_erasure(erasure)

    def _erase(self, stream: str, partition: Partition, ids: set[int]) -> None:
        with partition.alone():
            if ids.issuperset(partition.all_ids()):
                self._days.remove(stream, partition.folder.name)
            else:
                partition.forget(ids)

    def _hide(self, erasure: Erasure) -> dict[str, set[int]]:
        """Makes sure that nothing of it is found. Returns the ids on disk, by day."""
        queued, ends = self._writer.take_out(erasure)
        erased = self._erased.setdefault(erasure.number, set())
        erased.update(info.block_id for info in queued)
        seen_ns = max((info.end_ns for info in queued), default=0)
        found: dict[str, set[int]] = {}
        failed: list[StorageError] = []
        for partition in self._days.of(erasure.stream):
            day = partition.folder.name
            if day_span(day)[0] > erasure.until_ns:
                continue
            try:
                touched = partition.touched(erasure, ends)
                if touched:
                    seen_ns = max(seen_ns, *touched.values())
                    partition.hide(touched)
                    found[day] = set(touched)
            except BlockNotFound:  # the day was dropped meanwhile
                continue
            except StorageError as exc:  # the other days are hidden all the same
                failed.append(exc)
        if seen_ns:
            self._book.note_seen(erasure.stream, seen_ns)
        if failed:
            raise failed[0]
        return found

    def _erase_broken(self, erasure: Erasure) -> None:
        """Files that were set aside cannot be read, so they go with every time that they may hold."""
        for file in broken_files(self._folder, erasure.stream):
            first_ns, last_ns = unread_span(file.parent.name)
            if first_ns <= erasure.until_ns and last_ns >= erasure.since_ns:
                file.unlink(missing_ok=True)
                if os.listdir(file.parent):
                    sync_folder(file.parent)
                else:
                    file.parent.rmdir()
                    sync_folder(file.parent.parent)


def _span(erasure: Erasure) -> _Span:
    return erasure.stream, erasure.since_ns, erasure.until_ns
