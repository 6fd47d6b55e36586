"""`Partition`: one LMDB environment, a day of one stream.

Four tables, all keyed by block id as eight big-endian bytes: `blocks` (packed keys and values), `spans` (a few bytes,
rewritten while a quiet scene extends its last block), `signatures` and `pictures`. A fifth, `scales`, holds what
scaled blocks were quantised against, twice, since a whole day hangs on it. Every value carries a checksum.
Files never shrink, and keep what was deleted in their free pages: so a day is dropped whole, or written anew without
what is to be forgotten. This is the border where LMDB's errors become ours.

Beside the data may lie an index file, which is made from it and knows what to do with the days' signatures; here it is
only put in its place, and taken away before anything that it was made from.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import lmdb
import numpy as np
import torch
from torch import Tensor

from .block import BlockInfo
from .book import Erasure
from .errors import BlockNotFound, BrokenFile, CorruptBlock, StorageError, StoreUnreadable, StoreUnwritable
from .folder import is_there, put_away, sync_folder, unread_span
from .pages import check_pages
from .record import seal, unseal
from .scales import Scales

_KEY = struct.Struct(">Q")
_SPAN = struct.Struct(">qqI?")
_SHAPE = struct.Struct(">HH")
_TABLES = ("blocks", "spans", "signatures", "pictures")
_SCALES, _COPIES = "scales", (b"0", b"1")
_READ_AT_ONCE, _READ_BYTES = 512, 32 << 20
Pack = Callable[[int, bytes], tuple[bytes, int | None]]


class Entry(NamedTuple):
    """One block on its way to disk; `record` is sealed already, against `scales` if there are any."""

    info: BlockInfo
    record: bytes
    signature: Tensor
    picture: bytes
    scales: Scales | None = None

    @property
    def size_bytes(self) -> int:
        """What it holds in memory while it waits."""
        return len(self.record) + len(self.picture) + self.signature.numel() * 2


class Stamp(NamedTuple):
    """What tells one state of a partition from every other: each commit has a transaction number of its own."""

    transaction: int
    first_id: int
    last_id: int
    blocks: int


class Partition:
    """A day of one stream on disk. Opens its files at the first use; any thread may read, one writes.

    Args:
        map_bytes: the size that the file's map begins with; it doubles whenever the day is full.
        on_open: called with the day each time that its files are opened.

    Raises:
        BrokenFile: its file is not what LMDB left there.
        StoreUnreadable: its file cannot be read now.
        UnknownFormat: its file is of another version of LMDB.
    """

    def __init__(self, folder: Path, map_bytes: int, on_open: Callable[[Partition], None] = lambda _: None) -> None:
        self.folder = folder
        self._map_bytes, self._on_open = map_bytes, on_open
        self._lock = threading.RLock()  # over the files being open
        self._writing = threading.RLock()  # over what they hold; taken first
        self._hidden: frozenset[int] = frozenset()
        self._last_disk_bytes = 0
        self._env: lmdb.Environment | None = None
        self._tables: dict[str, lmdb._Database] = {}
        shutil.rmtree(self._fresh, ignore_errors=True)  # an attempt at writing it anew that did not come to its end
        self._gone = False
        self.stamp = Stamp(0, 0, 0, 0)
        self.content_bytes = 0
        if is_there(self._data):
            check_pages(self._data)
            try:
                self.stamp = self._read_stamp()
            except CorruptBlock as exc:
                raise BrokenFile(str(exc)) from exc
            except StorageError as exc:
                raise StoreUnreadable(
                    f"{exc}; it is left as it is; make it readable to this user and start again"
                ) from exc
            self.close()

    @property
    def first_id(self) -> int:
        """The lowest id that it holds, 0 where it is empty."""
        return self.stamp.first_id

    @property
    def last_id(self) -> int:
        """The highest id that it holds, 0 where it is empty."""
        return self.stamp.last_id

    @property
    def index_file(self) -> Path:
        """Where its index file lies, if it has one."""
        return self.folder / "index"

    @property
    def _data(self) -> Path:
        return self.folder / "data.mdb"

    @property
    def _fresh(self) -> Path:
        return self.folder / "fresh"

    @property
    def is_gone(self) -> bool:
        """Whether it was taken out of the store."""
        return self._gone

    @property
    def is_open(self) -> bool:
        """Whether its files are mapped now."""
        return self._env is not None

    @property
    def disk_bytes(self) -> int:
        """What the files take on the disk, not what they seem to be long; where they cannot be looked at, as before."""
        try:
            with os.scandir(self.folder) as files:
                self._last_disk_bytes = sum(file.stat().st_blocks * 512 for file in files if file.is_file())
        except FileNotFoundError:  # the day, or a file of it, is being removed
            return 0 if self._gone else self._last_disk_bytes
        except OSError:  # too many open files, for instance: a statistic ends nothing
            pass
        return self._last_disk_bytes

    @property
    def changed_ns(self) -> int:
        """When its file was last written to, by the file system's clock; 0 where that cannot be said."""
        try:
            return self._data.stat().st_mtime_ns
        except OSError:
            return 0

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps everybody else from writing to the day until the end of the context."""
        with self._writing:
            yield

    def write(self, entries: Sequence[Entry], ends: Mapping[int, int]) -> None:
        """Commits blocks and new end times in one transaction; on return they are durable.

        Raises:
            StoreUnwritable: the disk is full or the folder cannot be written; nothing of the group was kept.
        """
        with self._writing:
            while not self._fits(lambda: self._put(entries, ends)):
                self._grow()
            self.stamp = self._read_stamp()

    def touched(self, erasure: Erasure, ends: Mapping[int, int]) -> dict[int, int]:
        """The ids of the blocks that an erasure means, and when each ends.

        A block whose span cannot be read is meant wherever it may have been; its end is 0.

        Args:
            ends: newer ends than those on disk.
        """
        found: dict[int, int] = {}
        anywhere = unread_span(self.folder.name)
        unread = self.all_ids()  # first: a block that is committed after this is read below, or not looked at
        for block_id, value in self._scan("spans"):
            with contextlib.suppress(CorruptBlock):
                info = _read_span(block_id, value)
                unread.discard(block_id)
                end_ns = max(info.end_ns, ends.get(block_id, 0))
                if erasure.covers(block_id, info.start_ns, end_ns):
                    found[block_id] = end_ns
        for block_id in unread:
            if erasure.covers(block_id, *anywhere):
                found[block_id] = 0
        return found

    def hide(self, block_ids: Collection[int]) -> None:
        """From here on these are not found; their bytes stay until `forget`. The index file, which has them, goes.

        Raises:
            StoreUnwritable: the index file cannot be removed.
        """
        self._hidden |= frozenset(block_ids)
        with self._writing:
            try:
                self.index_file.unlink(missing_ok=True)
            except OSError as exc:
                raise StoreUnwritable(f"{self.index_file} cannot be removed: {exc.strerror}") from exc

    def forget(self, block_ids: Collection[int]) -> None:
        """Removes blocks, and every byte of theirs from the files; a crash leaves all of them or none.

        The others are written into a new file, which then takes the old one's place. Reads go on meanwhile.

        Raises:
            StoreUnwritable: there is no room for the new file; nothing was removed.
        """
        gone = set(block_ids)
        self._rewrite({name: gone for name in _TABLES})

    def damage(self, check_record: Callable[[bytes], object]) -> dict[int, dict[str, str]]:
        """Reads every value. Returns, block by block, what is wrong with which of its values.

        Args:
            check_record: raises a `StorageError` where a record is not as it should be.
        """
        found: dict[int, dict[str, str]] = defaultdict(dict)
        there: dict[str, set[int]] = {name: set() for name in _TABLES}
        for name in _TABLES:
            for block_id, value in self._scan(name):
                there[name].add(block_id)
                try:
                    if name == "blocks":
                        check_record(value)
                    else:
                        unseal(value, "it", _KEY.pack(block_id) if name == "pictures" else b"")
                except StorageError as exc:
                    found[block_id][name] = str(exc)
        for name in ("blocks", "spans", "signatures"):
            for block_id in set().union(*there.values()) - there[name]:
                found[block_id][name] = "is missing"
        for error in (scales for scales in self._read_scales() if isinstance(scales, StorageError)):
            found[0]["scales"] = f"one of two copies: {error}"
        return found

    def repair(self, damage: dict[int, dict[str, str]]) -> None:
        """Removes what is damaged: a picture alone, or the block with all that belongs to it.

        Raises:
            StoreUnwritable: there is no room for the new file; nothing was removed.
        """
        whole = {block_id for block_id, wrong in damage.items() if wrong.keys() != {"pictures"}}
        self._rewrite({name: set(damage) if name == "pictures" else whole for name in _TABLES})

    def repack(self, pack: Pack, scales: Scales) -> None:
        """Gives every block another record, or the one it has; a crash leaves all as they were or all anew.

        Args:
            pack: a block's id and record to its new record and how many tokens that has, or None where it is as it
                was. An error that it raises ends this, and nothing is changed.
            scales: kept with the day, for the new records.

        Raises:
            StoreUnwritable: there is no room for the new file; nothing was changed.
        """
        self._rewrite({name: set() for name in _TABLES}, pack, scales)

    def keep_index(self, stamp: Stamp, content: Iterable[bytes]) -> bool:
        """Puts an index file in its place, whole or not at all. Returns whether it was: not where the day has changed.

        Args:
            stamp: the state of the day that it was made from.

        Raises:
            StoreUnwritable: there is no room for it.
        """
        with self._writing:
            if self._gone or self._hidden or stamp != self.stamp:
                return False
            try:
                self._fresh.mkdir(mode=0o700, exist_ok=True)
                with open(self._fresh / "index", "wb", opener=_for_us_alone) as file:
                    file.writelines(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(self._fresh / "index", self.index_file)
                sync_folder(self.folder)
            except OSError as exc:
                raise StoreUnwritable(f"{self.index_file} cannot be written: {exc}") from exc
            finally:
                shutil.rmtree(self._fresh, ignore_errors=True)
        return True

    def put_away(self) -> None:
        """Takes the day out of the store; nothing is found in it any more.

        Raises:
            StoreUnwritable: it cannot be; the day is as it was.
        """
        with self._writing, self._lock:
            self.close()
            try:
                put_away(self.folder)
            except OSError as exc:
                raise StoreUnwritable(f"{self.folder} cannot be removed: {exc.strerror}") from exc
            self._gone = True

    def _rewrite(
        self,
        gone: dict[str, set[int]],
        pack: Pack = lambda _, record: (record, None),
        scales: Scales | None = None,
    ) -> None:
        """Writes the files anew without some rows of each table, and without those that are hidden."""
        with self._writing:
            if self._gone:
                raise BlockNotFound(f"{self.folder} was forgotten")
            hidden = self._hidden
            try:
                self._write_anew({name: ids | hidden for name, ids in gone.items()}, pack, scales)
                self.index_file.unlink(missing_ok=True)  # first: it holds what is to be gone, and can be made again
                sync_folder(self.folder)
            except (lmdb.Error, OSError) as exc:
                shutil.rmtree(self._fresh, ignore_errors=True)
                raise StoreUnwritable(f"{self.folder} cannot be written anew: {exc}") from exc
            except BaseException:
                shutil.rmtree(self._fresh, ignore_errors=True)
                raise
            with self._lock:
                self.close()
                try:
                    os.replace(self._fresh / "data.mdb", self._data)
                    sync_folder(self.folder)
                except OSError as exc:
                    raise StoreUnwritable(f"{self.folder} cannot be written anew: {exc}") from exc
                shutil.rmtree(self._fresh, ignore_errors=True)
                self._hidden -= hidden
                self.stamp = self._read_stamp()

    def _write_anew(self, gone: dict[str, set[int]], pack: Pack, scales: Scales | None) -> None:
        shutil.rmtree(self._fresh, ignore_errors=True)
        self._fresh.mkdir(mode=0o700)
        tokens: dict[int, int] = {}  # of blocks that have other tokens now

        def anew(table: str, block_id: int, value: bytes) -> bytes:
            if table == "blocks":
                value, other = pack(block_id, value)
                if other is not None:
                    tokens[block_id] = other
            elif table == "spans" and block_id in tokens:
                value = _pack_span(_read_span(block_id, value)._replace(tokens=tokens[block_id]))
            return value

        with self._environment(self._fresh) as env:
            for name in _TABLES:
                table = env.open_db(name.encode())
                for batch in self._batches(name):
                    ids = [_KEY.unpack(key)[0] for key, _ in batch]
                    kept = [
                        (key, anew(name, i, value))
                        for i, (key, value) in zip(ids, batch, strict=True)
                        if i not in gone[name]
                    ]
                    _fill(env, functools.partial(_put_behind, table=table, rows=kept))
            table = env.open_db(_SCALES.encode())
            for each in (*self.scales().values(), *([scales] if scales is not None else [])):
                _fill(env, functools.partial(_put_scales, table=table, scales=each))

    def record(self, block_id: int) -> bytes:
        """The sealed record of a block.

        Raises:
            BlockNotFound: this day does not hold it.
        """
        return self._get("blocks", block_id)

    def picture(self, block_id: int) -> bytes:
        """The JPEG of a block, or empty where it has none."""
        try:
            value = self._get("pictures", block_id)
            return bytes(unseal(value, f"the picture of block {block_id}", _KEY.pack(block_id)))
        except BlockNotFound:
            return b""

    def info(self, block_id: int) -> BlockInfo:
        """The span of a block as last extended."""
        return _read_span(block_id, self._get("spans", block_id))

    def scales(self) -> dict[bytes, Scales]:
        """All that this day's blocks were quantised against and can be read, by digest."""
        return {scales.digest: scales for scales in self._read_scales() if isinstance(scales, Scales)}

    def ids(self) -> list[int]:
        """Every block's id, in order; of the values only the spans are read, and not checked."""
        return [block_id for block_id, _ in self._scan("spans") if block_id not in self._hidden]

    def all_ids(self) -> set[int]:
        """Every id that stands in any table, hidden or not; no value is read."""
        found: set[int] = set()
        for name in _TABLES:
            with self._transaction() as (txn, tables), txn.cursor(db=tables[name]) as cursor:
                found.update(_KEY.unpack(key)[0] for key in cursor.iternext(keys=True, values=False))
        return found

    def infos(self) -> Iterator[BlockInfo]:
        """Every block in id order; no transaction stays open between two of them."""
        for block_id, value in self._scan("spans"):
            if block_id not in self._hidden:
                yield _read_span(block_id, value)

    def signatures(self, damaged: Callable[[int, StorageError], None]) -> Iterator[tuple[BlockInfo, Tensor]]:
        """Every block with its signature `[N, E]`, in id order; of one that cannot be read, `damaged` is told."""
        for block_id, value in self._scan("signatures"):
            if block_id in self._hidden:
                continue
            try:
                body = unseal(value, f"the signature of block {block_id}")
                info = self.info(block_id)
            except (CorruptBlock, BlockNotFound) as exc:
                if self._holds("signatures", block_id):  # else it was forgotten since it was read
                    damaged(block_id, exc)
                continue
            rows, width = _SHAPE.unpack(body[: _SHAPE.size])
            vectors = np.frombuffer(body[_SHAPE.size :], np.float16).reshape(rows, width).copy()
            yield info, torch.from_numpy(vectors)

    def close(self) -> None:
        """Unmaps the files; the next use opens them again."""
        with self._lock:
            if self._env is not None:
                self._env.close()
                self._env = None

    def close_if_idle(self) -> bool:
        """Unmaps the files unless they are just being read. Returns whether they are closed."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self.close()
        finally:
            self._lock.release()
        return True

    def _put(self, entries: Sequence[Entry], ends: Mapping[int, int]) -> None:
        with self._transaction(write=True) as (txn, tables):
            for info, record, signature, picture, scales in entries:
                key = _KEY.pack(info.block_id)
                txn.put(key, record, db=tables["blocks"])
                txn.put(key, _pack_span(info), db=tables["spans"])
                shape = _SHAPE.pack(*signature.shape)
                txn.put(key, seal(shape + signature.half().numpy().tobytes()), db=tables["signatures"])
                if picture:
                    txn.put(key, seal(picture, key), db=tables["pictures"])
                if scales is not None:
                    _put_scales(txn, tables[_SCALES], scales)
            for block_id, end_ns in ends.items():
                key = _KEY.pack(block_id)
                old = txn.get(key, db=tables["spans"])
                if old is not None:
                    with contextlib.suppress(CorruptBlock):  # left as it is, for the doctor
                        span = _read_span(block_id, bytes(old))._replace(end_ns=end_ns)
                        txn.put(key, _pack_span(span), db=tables["spans"])

    def _fits(self, write: Callable[[], None]) -> bool:
        """Whether the map had room for it."""
        try:
            write()
        except lmdb.MapFullError:
            return False
        return True

    def _grow(self) -> None:
        """Doubles the map. No transaction is open meanwhile: each holds the lock."""
        with self._lock:
            try:
                self._map_bytes = _double(self._open())
            except (lmdb.Error, OSError, MemoryError, OverflowError) as exc:
                self.close()
                raise StoreUnwritable(
                    f"{self.folder} is full, and this process has no address space for a larger map: {exc}; "
                    "set a smaller memory.map_bytes"
                ) from exc

    def _get(self, table: str, block_id: int) -> bytes:
        value = None
        if block_id not in self._hidden:
            with self._transaction() as (txn, tables):
                value = txn.get(_KEY.pack(block_id), db=tables[table])
        if value is None:
            raise BlockNotFound(f"block {block_id} is not in {self.folder}")
        return bytes(value)

    def _holds(self, table: str, block_id: int) -> bool:
        try:
            self._get(table, block_id)
        except BlockNotFound:
            return False
        return True

    def _scan(self, table: str) -> Iterator[tuple[int, bytes]]:
        for batch in self._batches(table):
            for key, value in batch:
                yield _KEY.unpack(key)[0], value

    def _batches(self, table: str) -> Iterator[list[tuple[bytes, bytes]]]:
        """Keys and values in order; no transaction stays open between two batches."""
        after = b""
        while True:
            with self._transaction() as (txn, tables), txn.cursor(db=tables[table]) as cursor:
                batch, size, more = [], 0, False
                if cursor.set_range(after):
                    for key, value in cursor:
                        batch.append((bytes(key), bytes(value)))
                        size += len(value)
                        more = len(batch) == _READ_AT_ONCE or size >= _READ_BYTES
                        if more:
                            break
            yield batch
            if not more:
                return
            after = _KEY.pack(_KEY.unpack(batch[-1][0])[0] + 1)

    def _read_scales(self) -> Iterator[Scales | StorageError]:
        """Every copy, or why it cannot be read."""
        with self._transaction() as (txn, tables), txn.cursor(db=tables[_SCALES]) as cursor:
            copies = [bytes(value) for _, value in cursor]
        for value in copies:
            try:
                yield Scales.unpack(unseal(value, "the scales"))
            except CorruptBlock as exc:
                yield exc

    def _read_stamp(self) -> Stamp:
        with self._transaction() as (txn, tables), txn.cursor(db=tables["spans"]) as cursor:
            first = _KEY.unpack(cursor.key())[0] if cursor.first() else 0
            last = _KEY.unpack(cursor.key())[0] if cursor.last() else 0
            stats = [txn.stat(table) for table in tables.values()]
            self.content_bytes = sum(
                s["psize"] * (s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"]) for s in stats
            )
            return Stamp(txn.id(), first, last, txn.stat(tables["spans"])["entries"])

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[tuple[lmdb.Transaction, dict[str, lmdb._Database]]]:
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

    def _open(self) -> lmdb.Environment:
        if self._gone:
            raise BlockNotFound(f"{self.folder} was forgotten")
        if self._env is None:
            for folder in (self.folder.parent, self.folder):  # a mode is for the last folder of a path alone
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            is_new = not self._data.exists()
            try:
                env = self._environment(self.folder)
            except lmdb.Error:
                if is_new:
                    self._data.unlink(missing_ok=True)  # half of it, where the disk is full
                raise
            try:
                self._tables = {name: env.open_db(name.encode()) for name in (*_TABLES, _SCALES)}
            except BaseException:
                env.close()
                raise
            self._env = env
            if is_new:
                for folder in (self.folder, self.folder.parent, self.folder.parent.parent):
                    sync_folder(folder)  # LMDB makes its file durable, and not the names that lead there
            self._on_open(self)
        return self._env

    def _environment(self, folder: Path) -> lmdb.Environment:
        """LMDB's own lock is off: the store lets one process in, and `_lock` one transaction. Its file is written
        through a mapping, which on a full disk ends the process."""
        tables = len(_TABLES) + 1
        return lmdb.open(str(folder), map_size=self._map_bytes, max_dbs=tables, mode=0o600, readahead=False, lock=False)


def _double(env: lmdb.Environment) -> int:
    """Gives a file twice the address space. Returns how much that is."""
    size = 2 * int(env.info()["map_size"])
    env.set_mapsize(size)
    return size


def _fill(env: lmdb.Environment, put: Callable[[lmdb.Transaction], None]) -> None:
    """Puts rows in one transaction, whatever room they need."""
    while True:
        try:
            with env.begin(write=True) as txn:
                put(txn)
            return
        except lmdb.MapFullError:
            _double(env)


def _put_behind(txn: lmdb.Transaction, table: lmdb._Database, rows: Sequence[tuple[bytes, bytes]]) -> None:
    for key, value in rows:
        txn.put(key, value, db=table, append=True)


def _put_scales(txn: lmdb.Transaction, table: lmdb._Database, scales: Scales) -> None:
    for copy in _COPIES:
        txn.put(scales.digest + copy, seal(scales.packed), db=table, overwrite=False)


def _pack_span(info: BlockInfo) -> bytes:
    return seal(_SPAN.pack(info.start_ns, info.end_ns, info.tokens, info.gap))


def _read_span(block_id: int, value: bytes) -> BlockInfo:
    return BlockInfo(block_id, *_SPAN.unpack(unseal(bytes(value), f"the span of block {block_id}")))


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
