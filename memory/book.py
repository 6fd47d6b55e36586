"""`Book`: what a store must remember besides its blocks, in a small LMDB file of its own.

It lies in `store.book/`, a name that no stream can have, because of the dot. Every write is one durable transaction.
Days' files come and go, so what must outlive them stands here: which ids were given, what is still to be erased, when a
day was last written to, which streams were added. Knows nothing of blocks.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import lmdb

from .errors import BrokenFile, StoreUnreadable, StoreUnwritable
from .folder import is_there, set_aside, sync_folder
from .pages import check_pages

FOLDER = "store.book"
_TABLES = ("ids", "seen", "erasures", "stored", "streams", "notes")
_NUMBER = struct.Struct(">Q")
_SPAN = struct.Struct(">QQQ")
_MAP_BYTES = 1 << 30  # address space, no disk; it never holds more than some hundred bytes a day and stream


class Erasure(NamedTuple):
    """Blocks that are to be gone from every file. It stays in the book until they are.

    Attributes:
        number: names it in the book.
        since_ns, until_ns: blocks that touch this time, its ends included.
        last_id: the newest id when it was promised; later blocks are not meant.
    """

    number: int
    stream: str
    since_ns: int
    until_ns: int
    last_id: int

    def covers(self, block_id: int, start_ns: int, end_ns: int) -> bool:
        """Whether it means this block."""
        return block_id <= self.last_id and start_ns <= self.until_ns and end_ns >= self.since_ns


class Book:
    """Durable facts of a store. Thread-safe; the store's lock keeps other processes out.

    Attributes:
        set_aside: why the file was put out of the way and begun again, empty where it was not.
        begun_ns: with `set_aside`, a time after everything that the lost file can have known.
        is_new: nothing was ever written in it.

    Raises:
        StoreUnreadable: the file is there but cannot be read now.
        StoreUnwritable: the file cannot be made, or is broken and cannot be set aside.
        UnknownFormat: another version of LMDB wrote it.
    """

    def __init__(self, store_folder: Path) -> None:
        self._folder = store_folder / FOLDER
        self._lock = threading.Lock()
        self._env: lmdb.Environment | None = None
        self._closed = False
        self._tables: dict[str, lmdb._Database] = {}
        self.set_aside, self.begun_ns = "", 0
        data = self._folder / "data.mdb"
        if is_there(data):
            try:
                check_pages(data)
            except BrokenFile as exc:
                self.begun_ns = max(time.time_ns(), data.stat().st_mtime_ns)
                self.set_aside = f"{exc}; set aside as {set_aside(data).name}"
        self.is_new = not is_there(data) or not data.stat().st_size
        try:
            self._open()
        except (lmdb.Error, OSError) as exc:
            if not self.is_new:
                raise StoreUnreadable(f"{data} cannot be opened: {exc}; make it readable and start again") from exc
            data.unlink(missing_ok=True)  # half of it, where the disk is full

    def last_id(self, stream: str) -> int:
        """The mark: no higher id of the stream was ever given."""
        return self._number("ids", stream.encode())

    def raise_last_id(self, stream: str, block_id: int) -> None:
        """Raises the mark: ids up to this one may be given. Never lowers it."""
        self._raise("ids", {stream.encode(): block_id})

    def settle_last_id(self, stream: str, block_id: int) -> None:
        """Lowers the mark to the last id that was really given. Only the caller that raised it may do so."""
        with self._write() as txn:
            txn.put(stream.encode(), _NUMBER.pack(block_id), db=self._tables["ids"])

    def seen_ns(self, stream: str) -> int:
        """The newest time of a block that was erased, 0 where none was: a recording is read from there on."""
        return self._number("seen", stream.encode())

    def note_seen(self, stream: str, time_ns: int) -> None:
        """A block that ended at this time is gone on purpose. Never lowers it."""
        self._raise("seen", {stream.encode(): time_ns})

    def forget_seen(self, stream: str) -> None:
        """Forgets that: from now on the stream is read from something else, and nothing of that was erased yet."""
        with self._write() as txn:
            txn.delete(stream.encode(), db=self._tables["seen"])

    def erasures(self) -> list[Erasure]:
        """What is still to be erased, oldest first."""
        return [
            Erasure(_NUMBER.unpack(key)[0], value[_SPAN.size :].decode(), *_SPAN.unpack(value[: _SPAN.size]))
            for key, value in self._rows("erasures")
        ]

    def add_erasure(self, stream: str, since_ns: int, until_ns: int, last_id: int) -> Erasure:
        """Notes that blocks are to be erased. On return no crash can bring them back."""
        value = _SPAN.pack(since_ns, until_ns, last_id) + stream.encode()
        with self._write() as txn, txn.cursor(db=self._tables["erasures"]) as cursor:
            number = _NUMBER.unpack(cursor.key())[0] + 1 if cursor.last() else 1
            cursor.put(_NUMBER.pack(number), value)
        return Erasure(number, stream, since_ns, until_ns, last_id)

    def end_erasure(self, erasure: Erasure) -> None:
        """It was carried out."""
        with self._write() as txn:
            txn.delete(_NUMBER.pack(erasure.number), db=self._tables["erasures"])

    def stored_ns(self) -> dict[tuple[str, str], int]:
        """When something was last written to each (stream, day), by the clock of that time."""
        rows = [(key.decode().split("/"), value) for key, value in self._rows("stored")]
        return {(stream, day): _NUMBER.unpack(value)[0] for (stream, day), value in rows}

    def note_stored(self, times: Mapping[tuple[str, str], int]) -> None:
        """Something was written to these (stream, day) now. Never lowers it."""
        self._raise("stored", {f"{stream}/{day}".encode(): time_ns for (stream, day), time_ns in times.items()})

    def forget_day(self, stream: str, day: str) -> None:
        """The day is gone."""
        with self._write() as txn:
            txn.delete(f"{stream}/{day}".encode(), db=self._tables["stored"])

    def streams(self) -> dict[str, bytes]:
        """Streams that were added while running, each with what was kept about it."""
        return {key.decode(): value for key, value in self._rows("streams")}

    def keep_stream(self, name: str, value: bytes) -> None:
        """Keeps a stream, or changes what is kept about it."""
        with self._write() as txn:
            txn.put(name.encode(), value, db=self._tables["streams"])

    def drop_stream(self, name: str) -> None:
        """Stops keeping a stream; its blocks and ids stay."""
        with self._write() as txn:
            txn.delete(name.encode(), db=self._tables["streams"])

    def note(self, stream: str, about: str) -> bytes:
        """What was noted about a stream, empty where nothing was."""
        return self._get("notes", f"{stream}/{about}".encode())

    def keep_note(self, stream: str, about: str, value: bytes) -> None:
        """Notes something about a stream, whether it is watched or not."""
        with self._write() as txn:
            txn.put(f"{stream}/{about}".encode(), value, db=self._tables["notes"])

    def close(self) -> None:
        """Unmaps the file."""
        with self._lock:
            self._closed = True
            if self._env is not None:
                self._env.close()
                self._env = None

    def _number(self, table: str, key: bytes) -> int:
        value = self._get(table, key)
        return _NUMBER.unpack(value)[0] if value else 0

    def _get(self, table: str, key: bytes) -> bytes:
        with self._read() as txn:
            return b"" if txn is None else bytes(txn.get(key, b"", db=self._tables[table]))

    def _rows(self, table: str) -> list[tuple[bytes, bytes]]:
        with self._read() as txn:
            if txn is None:
                return []
            with txn.cursor(db=self._tables[table]) as cursor:
                return [(bytes(key), bytes(value)) for key, value in cursor]

    def _raise(self, table: str, numbers: Mapping[bytes, int]) -> None:
        with self._write() as txn:
            for key, number in numbers.items():
                old = txn.get(key, db=self._tables[table])
                if old is None or _NUMBER.unpack(old)[0] < number:
                    txn.put(key, _NUMBER.pack(number), db=self._tables[table])

    @contextmanager
    def _read(self) -> Iterator[lmdb.Transaction | None]:
        """A transaction; None where the file could not be made yet, so that nothing was ever noted."""
        with self._lock:
            if self._env is None and self.is_new:
                yield None
                return
            try:
                with self._open().begin() as txn:
                    yield txn
            except (lmdb.Error, OSError) as exc:
                raise StoreUnreadable(f"{self._folder} cannot be read: {exc}") from exc

    @contextmanager
    def _write(self) -> Iterator[lmdb.Transaction]:
        with self._lock:
            try:
                with self._open().begin(write=True) as txn:
                    yield txn
                self.is_new = False
            except (lmdb.Error, OSError) as exc:
                if self._env is not None:  # after some failures LMDB writes no more until it is opened again
                    self._env.close()
                    self._env = None
                raise StoreUnwritable(f"{self._folder} cannot take more: {exc}; make room on the disk") from exc

    def _open(self) -> lmdb.Environment:
        if self._closed:  # the folder may be another process's by now
            raise StoreUnwritable(f"{self._folder} is closed")
        if self._env is None:
            is_new = not (self._folder / "data.mdb").exists()
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            env = lmdb.open(
                str(self._folder), map_size=_MAP_BYTES, max_dbs=len(_TABLES), mode=0o600, lock=False, readahead=False
            )
            try:
                self._tables = {name: env.open_db(name.encode()) for name in _TABLES}
            except BaseException:
                env.close()
                raise
            self._env = env
            if is_new:
                for folder in (self._folder, self._folder.parent):
                    sync_folder(folder)  # LMDB makes its file durable, and not the names that lead there
        return self._env
