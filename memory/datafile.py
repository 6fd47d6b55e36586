"""`DataFile`: the LMDB file of one day, opened at its first use. The border where LMDB's errors become ours.

Knows the tables and the ids of `rows.py`, and of what lies under an id only that it is bytes.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from .errors import BlockNotFound, CorruptBlock, StorageError, StoreUnwritable
from .folder import sync_folder
from .rows import SCALES, TABLES, Tables, pack_id, read_id

_READ_AT_ONCE, _READ_BYTES = 512, 32 << 20


class DataFile:
    """A day's `data.mdb`. Any thread may read, one writes.

    Args:
        folder: the day's folder. It is made with the file, at the first use.
        map_bytes: the size that the file's map begins with; it doubles whenever the file is full.
        on_open: called with the file each time that it is opened, while it cannot be closed.
    """

    def __init__(self, folder: Path, map_bytes: int, on_open: Callable[[DataFile], None]) -> None:
        self.folder, self.path = folder, folder / "data.mdb"
        self.map_bytes = map_bytes
        self._on_open = on_open
        self._lock = threading.RLock()  # one transaction at a time, and none while the file is opened, closed or grown
        self._env: lmdb.Environment | None = None
        self._tables: dict[str, lmdb._Database] = {}
        self._gone = False

    @property
    def is_gone(self) -> bool:
        """Whether the day was taken out of the store."""
        return self._gone

    @property
    def changed_ns(self) -> int:
        """When it was last written to, by the file system's clock; 0 where nobody knows."""
        try:
            return self.path.stat().st_mtime_ns
        except OSError:
            return 0

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[tuple[lmdb.Transaction, Tables]]:
        """A transaction and the tables; one that writes is durable once the context has ended.

        Raises:
            BlockNotFound: the day was taken out of the store.
            CorruptBlock: LMDB finds a page that is not what it should be.
            StorageError: it cannot be read.
            StoreUnwritable: it cannot be written; nothing of the transaction was kept.
        """
        with self._lock:
            try:
                env = self._open()
                with env.begin(write=write) as txn:
                    yield txn, self._tables
            except lmdb.MapFullError:
                raise
            except lmdb.CorruptedError as exc:
                raise CorruptBlock(f"{self.folder}: {exc}") from exc
            except (lmdb.Error, OSError) as exc:
                if not write:
                    raise StorageError(f"{self.folder}: {exc}") from exc
                self.close()  # after some failures LMDB writes no more until it is opened again
                free = shutil.disk_usage(self.folder.parent.parent).free >> 20  # LMDB speaks of an input/output error
                raise StoreUnwritable(
                    f"{self.folder} cannot take more: {exc}; {free} MiB of the disk are free"
                ) from exc

    def write(self, put: Callable[[lmdb.Transaction, Tables], None]) -> None:
        """Commits what `put` puts into a transaction, all or nothing. It is called again where the map was too small.

        Raises:
            StoreUnwritable: the disk is full or the folder cannot be written; nothing was kept.
        """
        while True:
            try:
                with self.transaction(write=True) as (txn, tables):
                    put(txn, tables)
                return
            except lmdb.MapFullError:
                self._grow()

    def get(self, table: str, block_id: int) -> bytes | None:
        """The value under an id, None where there is none."""
        with self.transaction() as (txn, tables):
            value = txn.get(pack_id(block_id), db=tables[table])
        return None if value is None else bytes(value)

    def rows(self, table: str) -> Iterator[tuple[int, bytes]]:
        """Ids and values of a table, in order of the ids."""
        for batch in self.batches(table):
            yield from batch

    def batches(self, table: str) -> Iterator[list[tuple[int, bytes]]]:
        """The same, many at once. No transaction stays open between two batches: it would hold the lock, and walking
        through a day may take minutes.
        """
        after = b""
        while True:
            with self.transaction() as (txn, tables), txn.cursor(db=tables[table]) as cursor:
                batch, size, more = [], 0, False
                if cursor.set_range(after):
                    for key, value in cursor:
                        batch.append((read_id(key), bytes(value)))
                        size += len(value)
                        more = len(batch) == _READ_AT_ONCE or size >= _READ_BYTES
                        if more:
                            break
            yield batch
            if not more:
                return
            after = pack_id(batch[-1][0] + 1)

    def ids(self) -> set[int]:
        """Every id that stands in any table. No value is read."""
        found: set[int] = set()
        for name in TABLES:
            with self.transaction() as (txn, tables), txn.cursor(db=tables[name]) as cursor:
                found.update(read_id(key) for key in cursor.iternext(keys=True, values=False))
        return found

    @contextmanager
    def kept_closed(self) -> Iterator[None]:
        """Closes the file. Other threads that want to use it wait until the end of the context."""
        with self._lock:
            self.close()
            yield

    def close(self) -> None:
        """Unmaps the file; the next use opens it again."""
        with self._lock:
            if self._env is not None:
                self._env.close()
                self._env = None

    def close_if_idle(self) -> bool:
        """Unmaps the file unless it is in use just now. Returns whether it is closed."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self.close()
        finally:
            self._lock.release()
        return True

    def mark_gone(self) -> None:
        """The day was taken out of the store: from now on nothing is found here, and no file is made again."""
        with self.kept_closed():
            self._gone = True

    def _grow(self) -> None:
        """Doubles the map. LMDB allows that only while no transaction is open, and each holds the lock."""
        with self._lock:
            try:
                self.map_bytes = double_map(self._open())
            except (lmdb.Error, OSError, MemoryError, OverflowError) as exc:
                self.close()
                raise StoreUnwritable(
                    f"{self.folder} is full, and this process has no address space for a larger map: {exc}; "
                    "set a smaller memory.map_bytes"
                ) from exc

    def _open(self) -> lmdb.Environment:
        if self._gone:
            raise BlockNotFound(f"{self.folder} was forgotten")
        if self._env is None:
            for folder in (self.folder.parent, self.folder):  # a mode is for the last folder of a path alone
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            is_new = not self.path.exists()
            try:
                env = open_environment(self.folder, self.map_bytes)
            except lmdb.Error:
                if is_new:
                    self.path.unlink(missing_ok=True)  # half of it, where the disk is full
                raise
            try:
                self._tables = {name: env.open_db(name.encode()) for name in (*TABLES, SCALES)}
            except BaseException:
                env.close()
                raise
            self._env = env
            if is_new:
                for folder in (self.folder, self.folder.parent, self.folder.parent.parent):
                    sync_folder(folder)  # LMDB makes its file durable, and not the names that lead there
            self._on_open(self)
        return self._env


def open_environment(folder: Path, map_bytes: int) -> lmdb.Environment:
    """Opens or makes the file in a folder.

    LMDB's own lock is off: the store lets one process in, and a `DataFile` one transaction. LMDB's lock file is written
    through a mapping, and on a full disk that ends the process.
    """
    tables = len(TABLES) + 1
    return lmdb.open(str(folder), map_size=map_bytes, max_dbs=tables, mode=0o600, readahead=False, lock=False)


def double_map(env: lmdb.Environment) -> int:
    """Gives a file twice the address space. Returns how much that is."""
    size = 2 * int(env.info()["map_size"])
    env.set_mapsize(size)
    return size
