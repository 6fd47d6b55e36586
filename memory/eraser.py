"""`Eraser`: takes what is to be forgotten out of every file, even if something fails or the process is killed.

    promise    it is written into the book. From here on a crash changes nothing: the next start carries it out
    hide       the blocks leave the queue and are not found on disk any more; index files that hold them are deleted
    erase      days that hold nothing else are deleted, others are rewritten; files that were set aside go too
    done       it is crossed out of the book

Hiding comes before erasing, of all days. Rewriting takes minutes and may fail for want of room; what was forgotten must
not be seen in the meantime. For the same reason a start hides what is pending before anybody looks.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from .book import Book, Erasure
from .dayname import day_span, unread_span
from .days import Days
from .errors import BlockNotFound, StorageError, StoreUnwritable
from .folder import broken_files, sync_folder
from .ids import Ids
from .partition import Partition
from .writer import Writer

_LATEST_NS = 2**63 - 1
_CLOSE_SECONDS = 60.0
_Span = tuple[str, int, int]


class Eraser:
    """Thread-safe; one erasure is carried out at a time.

    Attributes:
        error: why something pending could not be carried out at the last attempt, empty where everything was.
    """

    def __init__(self, folder: Path, days: Days, writer: Writer, ids: Ids, book: Book) -> None:
        self._folder, self._days, self._writer, self._ids, self._book = folder, days, writer, ids, book
        self._pending = {erasure.number: erasure for erasure in book.erasures()}
        self._erased: dict[int, set[int]] = {}  # by each erasure, since the store was opened
        self._in_hand: set[int] = set()  # somebody carries these out, or is going to
        self._owed: dict[_Span, set[int]] = {}  # erased after the request for it had failed: counted if it is repeated
        self.error = ""
        self._lock = threading.Lock()  # over the dictionaries
        self._working = threading.Lock()

    @property
    def pending(self) -> list[Erasure]:
        """What is promised and not yet carried out, oldest first."""
        with self._lock:
            return list(self._pending.values())

    def promise(self, stream: str, since_ns: int | None, until_ns: int | None) -> Erasure:
        """Notes for good that all blocks so far that touch a time are to be erased. None means an open end.

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
            for old in same:  # an earlier attempt: what it erased counts, and the new one does the rest
                self._erased[erasure.number] |= self._erased.pop(old.number, set())
                del self._pending[old.number]
        for old in same:
            self._book.end_erasure(old)
        return erasure

    def hide(self) -> None:
        """Makes sure that nothing pending is found. For the start, before anybody looks."""
        for erasure in self.pending:
            self._hide(erasure)

    def carry_out(self, erasure: Erasure) -> list[int]:
        """Erases what was promised. Takes as long as rewriting its days.

        Returns:
            the ids of all blocks that it erased, at earlier attempts too.

        Raises:
            StorageError: not everything could be erased. None of it is found any more, and it is tried again.
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
        """Leaves an erasure to `carry_out_rest`: the caller that promised it cannot carry it out."""
        with self._lock:
            self._in_hand.discard(erasure.number)

    def close(self) -> bool:
        """Waits up to a minute for an erasure under way, and begins no more. The next start carries out the rest.

        Returns:
            whether nothing is under way any more.
        """
        return self._working.acquire(timeout=_CLOSE_SECONDS)

    def carry_out_rest(self) -> dict[str, list[int]]:
        """Tries again whatever failed before. Returns the ids that are gone now, by stream. Sets `error`."""
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
                    with contextlib.suppress(BlockNotFound):  # the day was just dropped
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
            if ids.issuperset(partition.blocks.all_ids()):
                self._days.remove(stream, partition.folder.name)
            else:
                partition.forget(ids)

    def _hide(self, erasure: Erasure) -> dict[str, set[int]]:
        """Makes sure that nothing of it is found. Returns the ids on disk, by day.

        The queue comes first: what is being written then is on disk when the days are looked through.
        """
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
                touched = partition.blocks.touched(erasure, ends)
                if touched:
                    seen_ns = max(seen_ns, *touched.values())
                    partition.hide(touched)
                    found[day] = set(touched)
            except BlockNotFound:  # the day was just dropped
                continue
            except StorageError as exc:  # the other days are hidden all the same
                failed.append(exc)
        if seen_ns:
            self._book.note_seen(erasure.stream, seen_ns)
        if failed:
            raise failed[0]
        return found

    def _erase_broken(self, erasure: Erasure) -> None:
        """Deletes files that were set aside. Nobody can read what they hold, so any time that they may hold counts."""
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
