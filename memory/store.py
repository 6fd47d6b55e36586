"""`Store`: the partitions of all streams behind one writer thread.

Blocks are queued and committed in groups; once `on_durable` has named a block it survives `kill -9`. Reads go to
the partitions directly. A block that is still queued is not found here: `Tiers` holds it in memory until then.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from .block import BlockInfo
from .book import Book
from .errors import BlockNotFound, BrokenFile, StorageError, StoreUnwritable
from .folder import day_files, day_of, set_aside, shut_others_out, take_folder
from .partition import Entry, Partition
from .retention import Day
from .settings import MemoryConfig

_OPEN_PARTITIONS = 16


class StoreStats(NamedTuple):
    """What the store holds and does now."""

    disk_bytes: int
    queued_blocks: int
    queued_bytes: int
    commits: int
    last_error: str


class Store:
    """All that is on disk. Thread-safe; one process at a time.

    Args:
        config: folder and limits.
        on_durable: called on the writer thread with (stream, block ids) after each commit.

    Attributes:
        book: what must be remembered beside the blocks.
        broken: days whose file is proven to be broken and was set aside, and why.
        notices: what else was found at the start and should be said, in sentences.

    Raises:
        StoreInUse: another process has the folder open.
        StoreUnreadable: a file is there but cannot be read now; nothing was changed.
        StoreUnwritable: the folder cannot be made or written.
        UnknownFormat: a file is of another version.
    """

    def __init__(self, config: MemoryConfig, on_durable: Callable[[str, list[int]], None] | None = None) -> None:
        self.config = config
        self.on_durable = on_durable
        self.folder = Path(config.folder)
        self.broken: dict[str, str] = {}
        self._lock_file = take_folder(self.folder)
        try:
            self.notices = shut_others_out(self.folder)
            self.book = Book(self.folder)
            self._partitions: dict[str, dict[str, Partition]] = self._find_partitions()
        except BaseException:
            os.close(self._lock_file)
            raise
        if self.book.set_aside:
            self.notices.append(f"the store's book was broken and is begun again: {self.book.set_aside}")
        self._queue: list[tuple[str, Entry]] = []
        self._ends: dict[tuple[str, int], tuple[str, int]] = {}
        self._queued_bytes = 0
        self._commits = 0
        self._last_error = ""
        self._flush_asked = self._closing = False
        self._busy = threading.Condition()
        self._writer = threading.Thread(target=self._write_for_ever, name="store-writer", daemon=True)
        self._writer.start()

    @property
    def has_room(self) -> bool:
        """Whether more may be queued. Not while as much waits as RAM may hold: the disk is full, or slower than we."""
        return self._queued_bytes < self.config.ram_bytes

    def put(self, stream: str, entry: Entry) -> None:
        """Queues a block. Whoever has many asks `has_room` first."""
        with self._busy:
            self._queue.append((stream, entry))
            self._queued_bytes += entry.size_bytes
            self._busy.notify_all()

    def extend(self, stream: str, block_id: int, start_ns: int, end_ns: int) -> None:
        """Queues a new end time of a block."""
        with self._busy:
            self._ends[stream, block_id] = (day_of(start_ns), end_ns)

    def flush(self, timeout_seconds: float = 30.0) -> None:
        """Returns when everything put so far is durable.

        Raises:
            StoreUnwritable: it could not be written in time.
        """
        with self._busy:
            self._flush_asked = True
            self._busy.notify_all()
            if not self._busy.wait_for(lambda: not (self._queue or self._ends or self._flush_asked), timeout_seconds):
                raise StoreUnwritable(
                    f"{len(self._queue)} blocks could not be written to {self.folder}: {self._last_error or 'too slow'}"
                )

    def streams(self) -> list[str]:
        """Names of all streams that have something on disk."""
        return sorted(self._partitions)

    def last_id(self, stream: str) -> int:
        """The highest id on disk, 0 where there is none."""
        return max((p.last_id for p in self.partitions(stream)), default=0)

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
        return [partition for _, partition in sorted(self._partitions.get(stream, {}).items())]

    def partition(self, stream: str, day: str) -> Partition:
        """A day of a stream that is on disk."""
        return self._partitions[stream][day]

    def days(self) -> list[Day]:
        """Every partition, oldest day first."""
        found = [
            Day(stream, day, partition.disk_bytes, partition.content_bytes)
            for stream, days in self._partitions.items()
            for day, partition in list(days.items())
        ]
        return sorted(found, key=lambda row: (row.day, row.stream))

    def drop(self, stream: str, day: str) -> list[int]:
        """Forgets a day of a stream, files and all. Returns the ids that are gone."""
        partition = self._partitions[stream].pop(day)
        ids = partition.ids()
        partition.remove()
        return ids

    def forget(self, stream: str, block_ids: Collection[int]) -> None:
        """Removes blocks from every file, to the last byte. Takes as long as writing the days that held them.

        Raises:
            StoreUnwritable: they, or what came before them, could not be written.
        """
        self.flush()
        gone = set(block_ids)
        for day, partition in list(self._partitions.get(stream, {}).items()):
            held = partition.ids()
            if not gone.isdisjoint(held):
                if gone.issuperset(held):
                    self.drop(stream, day)
                else:
                    partition.forget(gone.intersection(held))

    @property
    def healthy(self) -> bool:
        """Whether the writer thread lives and the last commit went through."""
        return self._writer.is_alive() and not self._last_error

    @property
    def stats(self) -> StoreStats:
        """Numbers for status."""
        disk = sum(day.disk_bytes for day in self.days())
        return StoreStats(disk, len(self._queue), self._queued_bytes, self._commits, self._last_error)

    def close(self) -> None:
        """Writes what is queued and gives the folder back.

        Raises:
            StoreUnwritable: what was queued could not be written; the folder is given back all the same.
        """
        try:
            if self._writer.is_alive():
                self.flush()
        finally:
            with self._busy:
                self._closing = True
                self._busy.notify_all()
            self._writer.join(timeout=10)
            for partition in (p for days in self._partitions.values() for p in days.values()):
                partition.close()
            self.book.close()
            os.close(self._lock_file)

    def _find_partitions(self) -> dict[str, dict[str, Partition]]:
        found: dict[str, dict[str, Partition]] = defaultdict(dict)
        for data in day_files(self.folder):
            stream, day = data.parts[-3:-1]
            try:
                found[stream][day] = Partition(data.parent, self.config.map_bytes)
            except BrokenFile as exc:
                self.broken[f"{stream} {day}"] = f"{exc}; set aside as {set_aside(data).name}"
        return found

    def _partition_of(self, stream: str, block_id: int) -> Partition:
        for partition in self.partitions(stream):
            if partition.first_id <= block_id <= partition.last_id:
                try:
                    partition.info(block_id)
                except BlockNotFound:
                    continue
                return partition
        raise BlockNotFound(f"stream {stream} has no block {block_id}")

    def _write_for_ever(self) -> None:
        while True:
            with self._busy:
                self._busy.wait_for(self._worth_writing, self.config.commit_seconds)
                if self._closing:
                    return
                queue, ends = self._next_group()
            error = self._commit(queue, ends)
            with self._busy:
                self._last_error = error
                if not error:
                    del self._queue[: len(queue)]
                    self._queued_bytes -= sum(entry.size_bytes for _, entry in queue)
                    for key, value in ends.items():
                        if self._ends.get(key) == value:
                            del self._ends[key]
                    if not self._queue and not self._ends:
                        self._flush_asked = False
                self._busy.notify_all()
            if error:
                time.sleep(self.config.commit_seconds)

    def _worth_writing(self) -> bool:
        enough = min(self.config.commit_bytes, self.config.ram_bytes // 2)
        return self._closing or self._flush_asked or self._queued_bytes >= enough

    def _next_group(self) -> tuple[list[tuple[str, Entry]], dict[tuple[str, int], tuple[str, int]]]:
        """What to commit now: the oldest of the queue, and once all of it is among them, the new ends."""
        size = count = 0
        for _, entry in self._queue:
            size, count = size + entry.size_bytes, count + 1
            if size >= self.config.commit_bytes:
                break
        return self._queue[:count], dict(self._ends) if count == len(self._queue) else {}

    def _commit(self, queue: list[tuple[str, Entry]], ends: dict[tuple[str, int], tuple[str, int]]) -> str:
        """Writes a group, partition by partition. Returns what went wrong, or an empty string."""
        groups: dict[tuple[str, str], tuple[list[Entry], dict[int, int]]] = defaultdict(lambda: ([], {}))
        for stream, entry in queue:
            groups[stream, day_of(entry.info.start_ns)][0].append(entry)
        for (stream, block_id), (day, end_ns) in ends.items():
            if (stream, day) in groups or day in self._partitions.get(stream, ()):  # else it was forgotten meanwhile
                groups[stream, day][1][block_id] = end_ns
        try:
            for (stream, day), (entries, new_ends) in groups.items():
                self._partition(stream, day).write(entries, new_ends)
                self._commits += 1
                if self.on_durable is not None and entries:
                    self.on_durable(stream, [entry.info.block_id for entry in entries])
        except StorageError as exc:
            return str(exc)
        return ""

    def _partition(self, stream: str, day: str) -> Partition:
        days = self._partitions[stream]
        if day not in days:
            days[day] = Partition(self.folder / stream / day, self.config.map_bytes)
        is_open = [p for others in self._partitions.values() for p in others.values() if p.is_open]
        for partition in is_open[: max(0, len(is_open) - _OPEN_PARTITIONS)]:
            if partition is not days[day]:
                partition.close()
        return days[day]
