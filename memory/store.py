"""`Store`: all that is on disk, behind one door. Its parts each have a file: days, writer, ids, eraser, book.

Blocks are queued and committed in groups; once `on_durable` has named a block it survives `kill -9`. Reads go to
the partitions directly. A block that is still queued is not found here: `Tiers` holds it in memory until then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from .block import BlockInfo
from .book import Book, Erasure
from .days import Days
from .eraser import Eraser
from .errors import BlockNotFound, StorageError
from .folder import shut_others_out, stream_folders, take_folder
from .ids import Ids
from .partition import Entry, Partition
from .retention import Day
from .settings import MemoryConfig
from .storedtimes import StoredTimes
from .writer import Writer

_IDS_AT_ONCE = 64


class StoreStats(NamedTuple):
    """What the store holds and does now."""

    disk_bytes: int
    queued_blocks: int
    queued_bytes: int
    commits: int
    last_error: str


class Store:
    """Thread-safe; one process at a time. What is to be erased since the last life is gone, or hidden, from the start.

    Args:
        config: folder and limits.
        on_durable: called on the writer thread with (stream, block ids) after each commit.

    Attributes:
        book: what must be remembered beside the blocks.
        broken: days whose file is proven to be broken and was set aside, and why.
        notices: what else was found at the start and should be said, in sentences.
        newest_stored_ns: when something was last written before this life, by the clock of then; 0 if never.

    Raises:
        StoreInUse: another process has the folder open.
        StoreUnreadable: a file is there but cannot be read now; nothing was changed.
        StoreUnwritable: the folder cannot be made or written.
        UnknownFormat: a file is of another version.
    """

    def __init__(self, config: MemoryConfig, on_durable: Callable[[str, list[int]], None] | None = None) -> None:
        self.config = config
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
        if self._days.left:
            self.notices.append(f"files of days that were dropped are left, and not shown: {self._days.left}")
        if self.book.set_aside:
            self.notices.append(f"the store's book was broken and is begun again: {self.book.set_aside}")
        self._writer = Writer(
            self._write,
            room_bytes=config.ram_bytes,
            commit_seconds=config.commit_seconds,
            commit_bytes=config.commit_bytes,
        )
        if on_durable is not None:
            self._writer.on_durable = on_durable
        self._eraser = Eraser(self.folder, self._days, self._writer, self._ids, self.book)
        try:
            self._erase_rest()
        except BaseException:
            self.close()
            raise

    @property
    def on_durable(self) -> Callable[[str, list[int]], None]:
        """Told (stream, ids) after each commit, on the writer's thread."""
        return self._writer.on_durable

    @on_durable.setter
    def on_durable(self, told: Callable[[str, list[int]], None]) -> None:
        self._writer.on_durable = told

    @property
    def on_lost(self) -> Callable[[str, list[BlockInfo], str], None]:
        """Told (stream, blocks, why) of what can never be written and was given up, on any thread."""
        return self._writer.on_lost

    @on_lost.setter
    def on_lost(self, told: Callable[[str, list[BlockInfo], str], None]) -> None:
        self._writer.on_lost = told

    def has_room(self, stream: str) -> bool:
        """Whether a stream may queue more. Not while its share of RAM waits, or its ids run out: see `trouble`."""
        return self._writer.has_room(stream) and self._ids.has(stream, _IDS_AT_ONCE)

    def trouble(self, stream: str) -> str:
        """What keeps a stream's blocks from being written, empty where nothing does."""
        return self._writer.error_of(stream) or self._ids.error

    def next_id(self, stream: str) -> int:
        """An id for a new block, that no block of the stream has or ever had.

        Raises:
            StoreUnwritable: the book cannot be written; `has_room` says so before.
        """
        return self._ids.next(stream)

    def put(self, stream: str, entry: Entry) -> None:
        """Queues a block. Whoever has many asks `has_room` first."""
        self._ids.note(stream, entry.info.block_id)
        self._writer.put(stream, entry)

    def extend(self, stream: str, info: BlockInfo, end_ns: int) -> None:
        """Queues a new end time of a block."""
        self._writer.extend(stream, info, end_ns)

    def flush(self, timeout_seconds: float = 30.0) -> None:
        """Returns when everything put so far is durable, whatever comes meanwhile.

        Raises:
            StoreUnwritable: it could not be written in time.
        """
        self._writer.flush(timeout_seconds)

    def streams(self) -> list[str]:
        """Names of all streams that have something on disk."""
        return self._days.streams()

    def remembered(self) -> list[str]:
        """Names of all streams that have anything in the folder, also what was set aside."""
        return sorted({*self.streams(), *stream_folders(self.folder)})

    def last_id(self, stream: str) -> int:
        """The highest id on disk, 0 where there is none."""
        return max((p.last_id for p in self._days.of(stream)), default=0)

    def seen_ns(self, stream: str) -> int:
        """The newest time that was erased on purpose, 0 where none was: a recording is not read again up to there."""
        return self.book.seen_ns(stream)

    def record(self, stream: str, block_id: int) -> bytes:
        """A block's sealed record.

        Raises:
            BlockNotFound: it was never stored, or was forgotten.
        """
        return self._partition_of(stream, block_id).record(block_id)

    def info(self, stream: str, block_id: int) -> BlockInfo:
        """A block's span as it is on disk.

        Raises:
            BlockNotFound: it was never stored, or was forgotten.
        """
        return self._partition_of(stream, block_id).info(block_id)

    def picture(self, stream: str, block_id: int) -> bytes:
        """A block's JPEG, empty where it has none.

        Raises:
            BlockNotFound: it was never stored, or was forgotten.
        """
        return self._partition_of(stream, block_id).picture(block_id)

    def infos(self, stream: str) -> Iterator[BlockInfo]:
        """Every block on disk, day by day."""
        for partition in self.partitions(stream):
            yield from partition.infos()

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

    def days(self) -> list[Day]:
        """Every partition, oldest day first."""
        found = [
            Day(stream, day, files.disk_bytes, files.content_bytes, self._stored.of(stream, day), files.last_id)
            for stream, day, files in self._days.all()
        ]
        return sorted(found, key=lambda row: (row.day, row.stream))

    def drop(self, stream: str, day: str) -> list[int]:
        """Deletes a day of a stream, files and all. Returns the ids that are gone.

        Raises:
            StoreUnwritable: it could not be deleted; the day is as it was.
        """
        ids = self._days.remove(stream, day)
        self._writer.forget_ends(stream, day)
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

    def promise(self, stream: str, since_ns: int | None, until_ns: int | None) -> Erasure:
        """Notes for good that a time is to be forgotten: every block that has an id by now. `carry_out` does it.

        Raises:
            StoreUnwritable: it could not be noted; nothing is forgotten.
        """
        return self._eraser.promise(stream, since_ns, until_ns)

    def carry_out(self, erasure: Erasure) -> list[int]:
        """Removes what was promised from every file, to the last byte. Takes as long as writing its days anew.

        Returns:
            the ids of all blocks that are gone by it, also by earlier attempts.

        Raises:
            StorageError: not all could be removed; nothing of it is found any more, and it is tried again.
        """
        return self._eraser.carry_out(erasure)

    def release(self, erasure: Erasure) -> None:
        """Whoever promised it does not carry it out: it is tried with the rest."""
        self._eraser.release(erasure)

    def forget(self, stream: str, since_ns: int | None, until_ns: int | None) -> int:
        """Removes every block so far that touches a time, whoever watches. Returns how many. See `carry_out`."""
        return len(self.carry_out(self.promise(stream, since_ns, until_ns)))

    @property
    def promised(self) -> list[Erasure]:
        """What is to be erased and is not yet."""
        return self._eraser.pending

    def carry_out_rest(self) -> tuple[dict[str, list[int]], str]:
        """Tries again whatever could not be erased. Returns the ids that are gone now, by stream, and what failed."""
        return self._eraser.carry_out_rest(), self._eraser.error

    def supervise(self) -> bool:
        """Starts the writer again where it has died. Returns whether it had."""
        return self._writer.supervise()

    @property
    def healthy(self) -> bool:
        """Whether the writer thread lives and all that is due was written."""
        return self._writer.alive and not self.error

    @property
    def queued_blocks(self) -> int:
        """How many are not durable yet."""
        return self._writer.waiting[0]

    @property
    def error(self) -> str:
        """What keeps something from being written now, empty where nothing does."""
        return self._writer.error or self._ids.error

    @property
    def lost_blocks(self) -> int:
        """How many could never be written and were given up."""
        return self._writer.lost_blocks

    @property
    def stats(self) -> StoreStats:
        """Numbers for status."""
        disk = sum(files.disk_bytes for _, _, files in self._days.all())
        blocks, waiting = self._writer.waiting
        return StoreStats(disk, blocks, waiting, self._writer.commits, self.error)

    def check_integrity(self) -> None:
        """Raises AssertionError with the numbers where the books do not balance."""
        self._writer.check_integrity()
        for stream in self.streams():
            twice: set[int] = set()
            for partition in self.partitions(stream):
                ids = set(partition.all_ids())
                assert not ids & twice, f"ids {sorted(ids & twice)[:5]} of {stream} stand in two days"
                twice |= ids
            given = self._ids.last_given(stream)
            assert max(twice, default=0) <= given, f"{stream} holds id {max(twice)}, given was {given}"

    def close(self) -> None:
        """Writes what is queued and gives the folder back: at the end of the process, where an erasure goes on so long.

        Raises:
            StoreUnwritable: what was queued could not be written; the folder is given back all the same.
        """
        try:
            self._writer.supervise()
            self.flush()
            self._ids.settle()
        finally:
            at_rest = self._eraser.close()
            self._writer.close()
            self._days.close()
            self.book.close()
            if at_rest:  # else a day is just being written anew, and would take the place of another process's
                os.close(self._lock_file)

    def _erase_rest(self) -> None:
        """What the last life promised. What cannot be erased now is hidden at least, or the store does not open."""
        self._eraser.hide()
        self._eraser.carry_out_rest()
        if self._eraser.error:
            self.notices.append(
                f"what was forgotten is still in the files; it is not shown, and tried again: {self._eraser.error}"
            )

    def _write(self, stream: str, day: str, entries: list[Entry], ends: Mapping[int, int]) -> None:
        if not entries and self._days.find(stream, day) is None:
            return  # it was forgotten meanwhile
        self._days.make(stream, day).write(entries, ends)
        self._stored.note(stream, day, time.time_ns())

    def _partition_of(self, stream: str, block_id: int) -> Partition:
        for partition in self.partitions(stream):
            if partition.first_id <= block_id <= partition.last_id:
                try:
                    partition.info(block_id)
                except BlockNotFound:
                    continue
                return partition
        raise BlockNotFound(f"stream {stream} has no block {block_id}")
