"""`Days`: every day of every stream that is on disk. Its lists are copies, so any thread may add and drop days."""

from __future__ import annotations

import threading
from pathlib import Path

from .errors import BlockNotFound, BrokenFile, StorageError
from .folder import day_files, delete_leftovers, set_aside, stream_folders
from .mappedfiles import MappedFiles
from .partition import Partition

_OPEN_AT_ONCE = 16


class Days:
    """Finds the days in a store's folder. Thread-safe.

    Attributes:
        broken: days whose file is proven to be broken and was set aside, and why.
        left: why files of days that are gone could not be deleted at the last attempt, empty where none is left.

    Raises:
        StoreUnreadable: a file or folder cannot be read now.
        StoreUnwritable: a broken file cannot be set aside.
        UnknownFormat: a file is of another version.
    """

    def __init__(self, folder: Path, map_bytes: int) -> None:
        self._folder, self._map_bytes = folder, map_bytes
        self._open = MappedFiles(_OPEN_AT_ONCE)
        self._lock = threading.Lock()  # over the dictionaries, and never held while a disk works
        self._deleting = threading.Lock()
        self._days: dict[str, dict[str, Partition]] = {}
        self.broken: dict[str, str] = {}
        for data in day_files(folder):
            stream, day = data.parts[-3:-1]
            try:
                self._days.setdefault(stream, {})[day] = self._partition(data.parent)
            except BrokenFile as exc:
                self.broken[f"{stream} {day}"] = f"{exc}; set aside as {set_aside(data).name}"
        self.left = ""
        self.delete_all_leftovers()

    def streams(self) -> list[str]:
        """Names of all streams that have a day."""
        with self._lock:
            return sorted(stream for stream, days in self._days.items() if days)

    def of(self, stream: str) -> list[Partition]:
        """A stream's days, oldest first."""
        with self._lock:
            return [partition for _, partition in sorted(self._days.get(stream, {}).items())]

    def all(self) -> list[tuple[str, str, Partition]]:
        """Every day, with its stream and its name."""
        with self._lock:
            return [(stream, day, part) for stream, days in self._days.items() for day, part in days.items()]

    def find(self, stream: str, day: str) -> Partition | None:
        """A day, None where there is none."""
        with self._lock:
            return self._days.get(stream, {}).get(day)

    def holding(self, stream: str, block_id: int) -> Partition:
        """The day that holds a block.

        Raises:
            BlockNotFound: none does.
        """
        for partition in self.of(stream):
            if partition.first_id <= block_id <= partition.last_id:  # days may overlap: a clock can be set back
                try:
                    partition.blocks.info(block_id)
                except BlockNotFound:
                    continue
                return partition
        raise BlockNotFound(f"stream {stream} has no block {block_id}")

    def make(self, stream: str, day: str) -> Partition:
        """A day to write to. It is made where it is not there."""
        with self._lock:
            days = self._days.setdefault(stream, {})
            if day not in days or days[day].file.is_gone:
                days[day] = self._partition(self._folder / stream / day)
            return days[day]

    def remove(self, stream: str, day: str) -> list[int]:
        """Takes a day out of the store. Returns the ids that are gone. `delete_leftovers` deletes its files.

        Raises:
            StoreUnwritable: it cannot be; the day is as it was.
        """
        partition = self.find(stream, day)
        if partition is None:
            return []
        with partition.alone():
            if partition.file.is_gone:
                return []
            try:
                ids = partition.blocks.ids()
            except StorageError:  # it cannot be read, but it can be deleted
                ids = []
            partition.put_away()
            with self._lock:
                if self._days[stream].get(day) is partition:  # and not a new one of the same name
                    del self._days[stream][day]
        return ids

    def delete_leftovers(self, stream: str) -> None:
        """Deletes the files of a stream's days that are gone.

        Raises:
            StoreUnwritable: something cannot be deleted; nothing of it is found.
        """
        with self._deleting:
            delete_leftovers(self._folder, stream, lambda day: self.find(stream, day) is not None)

    def delete_all_leftovers(self) -> None:
        """The same for all streams. Sets `left`."""
        left: list[str] = []
        for stream in stream_folders(self._folder):
            try:
                self.delete_leftovers(stream)
            except StorageError as exc:
                left.append(str(exc))
        self.left = left[0] if left else ""

    def close(self) -> None:
        """Unmaps all files."""
        for _, _, partition in self.all():
            partition.file.close()

    def _partition(self, folder: Path) -> Partition:
        return Partition(folder, self._map_bytes, self._open.note)
