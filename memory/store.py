"""`Store`: everything on disk, behind one door. Each of its parts has a file: days, writer, ids, eraser, book.

Blocks are queued and committed in groups; once `writer.on_durable` has named a block it survives `kill -9`. Reads go
to the days directly. A block that is still queued is not found here: `Tiers` holds it in memory until then.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from .block import BlockInfo
from .book import Book
from .days import Days
from .eraser import Eraser
from .errors import BlockNotFound, StorageError
from .folder import stream_folders
from .folderlock import take_folder
from .ids import Ids
from .partition import Partition
from .permissions import shut_others_out
from .retention import StoredDay
from .rows import Entry
from .settings import MemoryConfig
from .storedblocks import StoredBlocks
from .storedtimes import StoredTimes
from .writer import Writer

_IDS_AT_ONCE = 64


class StoreStats(NamedTuple):
    """What the store holds and does now."""

    disk_bytes: int
    queued_blocks: int
    last_error: str


class Store:
    """Thread-safe; one process at a time. What was to be erased before is gone when it opens, or at least hidden.

    Args:
        config: folder and limits.

    Attributes:
        book: what must be remembered besides the blocks.
        writer: what is queued, and the callbacks for what became durable or was lost.
        eraser: forgets a time of a stream for good.
        broken: days whose file is proven to be broken and was set aside, and why.
        notices: what else was found at the start and the user should know, in sentences.
        newest_stored_ns: when something was last written before this start, by the clock of that time; 0 if never.

    Raises:
        StoreInUse: another process has the folder open.
        StoreUnreadable: a file is there but cannot be read now; nothing was changed.
        StoreUnwritable: the folder cannot be made or written.
        UnknownFormat: a file is of another version.
    """

    def __init__(self, config: MemoryConfig) -> None:
        self.folder = Path(config.folder)
        self._lock_file = take_folder(self.folder)
        try:
            self.notices = shut_others_out(self.folder)
            self.book = Book(self.folder)
            self._days = Days(self.folder, config.map_bytes)
            self._stored = StoredTimes(self.book, self._days)
            self._ids = Ids(self.book, {stream: self.last_id(stream) for stream in self._days.streams()})
        except BaseException:
            os.close(self._lock_file)
            raise
        self.broken = self._days.broken
        self.newest_stored_ns = self._stored.newest_ns
        self.writer = Writer(
            self._write,
            room_bytes=config.ram_bytes,
            commit_seconds=config.commit_seconds,
            commit_bytes=config.commit_bytes,
        )
        self.eraser = Eraser(self.folder, self._days, self.writer, self._ids, self.book)
        try:
            self.eraser.hide()
            self.eraser.carry_out_rest()
        except BaseException:
            self.close()
            raise
        self.notices += _notices(self._days, self.book, self.eraser)

    def has_room(self, stream: str) -> bool:
        """Whether a stream may queue more. Not while its share of RAM waits, or its ids run out: see `trouble`."""
        return self.writer.has_room(stream) and self._ids.has(stream, _IDS_AT_ONCE)

    def trouble(self, stream: str) -> str:
        """What keeps a stream's blocks from being written, empty where nothing does."""
        return self.writer.error(stream) or self._ids.error

    def next_id(self, stream: str) -> int:
        """An id for a new block. No block of the stream has it or ever had it.

        Raises:
            StoreUnwritable: the book cannot be written; `has_room` says so before.
        """
        return self._ids.next(stream)

    def put(self, stream: str, entry: Entry) -> None:
        """Queues a block. Ask `has_room` before each of many."""
        self._ids.note(stream, entry.info.block_id)
        self.writer.put(stream, entry)

    def extend(self, stream: str, info: BlockInfo, end_ns: int) -> None:
        """Queues a new end time of a block."""
        self.writer.extend(stream, info, end_ns)

    def flush(self, timeout_seconds: float = 30.0) -> None:
        """Returns when everything put so far is durable, or raises `StoreUnwritable` if that takes too long."""
        self.writer.flush(timeout_seconds)

    def streams(self) -> list[str]:
        """Names of all streams that have something on disk."""
        return self._days.streams()

    def remembered(self) -> list[str]:
        """Names of all streams that have anything in the folder, even if it was set aside."""
        return sorted({*self.streams(), *stream_folders(self.folder)})

    def last_id(self, stream: str) -> int:
        """The highest id on disk, 0 where there is none."""
        return max((p.last_id for p in self._days.of(stream)), default=0)

    def blocks_with(self, stream: str, block_id: int) -> StoredBlocks:
        """The blocks of the day that holds a block.

        Raises:
            BlockNotFound: it was never stored, or was forgotten.
        """
        return self._days.holding(stream, block_id).blocks

    def infos(self, stream: str) -> Iterator[BlockInfo]:
        """Every block on disk, day by day."""
        for partition in self.partitions(stream):
            yield from partition.blocks.infos()

    def partitions(self, stream: str) -> list[Partition]:
        """A stream's days, oldest first."""
        return self._days.of(stream)

    def partition(self, stream: str, day: str) -> Partition:
        """A day of a stream that is on disk.

        Raises:
            BlockNotFound: it is not, or not any more.
        """
        partition = self._days.find(stream, day)
        if partition is None:
            raise BlockNotFound(f"stream {stream} has nothing of {day}")
        return partition

    def days(self) -> list[StoredDay]:
        """Every day of every stream, oldest first."""
        found = [
            StoredDay(name, day, part.disk_bytes, part.content_bytes, self._stored.of(name, day), part.last_id)
            for name, day, part in self._days.all()
        ]
        return sorted(found, key=lambda row: (row.day, row.stream))

    def drop(self, stream: str, day: str) -> list[int]:
        """Deletes a day of a stream, files and all. Returns the ids that are gone.

        Raises:
            StoreUnwritable: it could not be deleted; the day is as it was.
        """
        ids = self._days.remove(stream, day)
        self.writer.forget_ends(stream, day)
        self._stored.forget(stream, day)
        self.delete_leftovers()
        return ids

    def delete_leftovers(self) -> str:
        """Tries again to delete the files of days that are gone. Returns why it failed, empty where nothing is left."""
        try:
            self._days.delete_all_leftovers()
        except StorageError as exc:
            return str(exc)
        return self._days.left

    @property
    def healthy(self) -> bool:
        """Whether the writer thread lives and all that is due was written."""
        return self.writer.alive and not self.error

    @property
    def error(self) -> str:
        """What keeps something from being written now, empty where nothing does."""
        return self.writer.error() or self._ids.error

    @property
    def stats(self) -> StoreStats:
        """Numbers for status."""
        disk = sum(partition.disk_bytes for _, _, partition in self._days.all())
        return StoreStats(disk, self.writer.queue_size.blocks, self.error)

    def check_integrity(self) -> None:
        """Raises AssertionError with the numbers where the books do not balance."""
        self.writer.check_integrity()
        for stream in self.streams():
            ids = Counter(i for partition in self.partitions(stream) for i in partition.blocks.all_ids())
            twice = [block_id for block_id, count in ids.items() if count > 1]
            assert not twice, f"ids {sorted(twice)[:5]} of {stream} stand in two days"
            given = self._ids.last_given(stream)
            assert max(ids, default=0) <= given, f"{stream} holds id {max(ids)}, given was {given}"

    def close(self) -> None:
        """Writes what is queued and gives the folder back. If an erasure still goes on, the folder stays locked until
        the process ends.

        Raises:
            StoreUnwritable: what was queued could not be written; the folder is given back all the same.
        """
        try:
            self.writer.supervise()
            self.flush()
            self._ids.settle()
        finally:
            at_rest = self.eraser.close()
            self.writer.close()
            self._days.close()
            self.book.close()
            if at_rest:  # else a day is being rewritten, and its file would later replace that of another process
                os.close(self._lock_file)

    def _write(self, stream: str, day: str, entries: list[Entry], ends: Mapping[int, int]) -> None:
        if not entries and self._days.find(stream, day) is None:
            return  # only new ends, and their day is gone
        self._days.make(stream, day).write(entries, ends)
        self._stored.note(stream, day, time.time_ns())


def _notices(days: Days, book: Book, eraser: Eraser) -> list[str]:
    """What was found at the start and the user should know."""
    found = {
        "files of days that were dropped are left, and not shown": days.left,
        "the store's book was broken and a new one was begun": book.set_aside,
        "what was forgotten is still in the files; it is not shown, and tried again": eraser.error,
    }
    return [f"{what}: {why}" for what, why in found.items() if why]
