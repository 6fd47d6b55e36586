"""`Partition`: one LMDB environment, a day of one stream.

Four tables, all keyed by block id as eight big-endian bytes: `blocks` (packed keys and values), `spans` (a few bytes,
rewritten while a quiet scene extends its last block), `signatures` and `pictures`. Every value carries a checksum.
Files never shrink, and keep what was deleted in their free pages: so a day is dropped whole, or written anew without
what is to be forgotten. This is the border where LMDB's errors become ours.
"""

from __future__ import annotations

import os
import shutil
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import lmdb
import numpy as np
import torch
from torch import Tensor

from .block import BlockInfo
from .errors import BlockNotFound, CorruptBlock, StorageError, StoreUnwritable
from .record import seal, unseal

_KEY = struct.Struct(">Q")
_SPAN = struct.Struct(">qqI?")
_SHAPE = struct.Struct(">HH")
_TABLES = ("blocks", "spans", "signatures", "pictures")
_READ_AT_ONCE = 512


class Entry(NamedTuple):
    """One block on its way to disk; `record` is sealed already."""

    info: BlockInfo
    record: bytes
    signature: Tensor
    picture: bytes

    @property
    def size_bytes(self) -> int:
        """What it holds in memory while it waits."""
        return len(self.record) + len(self.picture) + self.signature.numel() * 2


class Partition:
    """A day of one stream on disk. Opens its files at the first use; any thread may read, one writes."""

    def __init__(self, folder: Path, map_bytes: int) -> None:
        self.folder = folder
        self._map_bytes = map_bytes
        self._lock = threading.RLock()  # over the files being open
        self._writing = threading.Lock()  # over what they hold; taken first
        self._env: lmdb.Environment | None = None
        self._tables: dict[str, lmdb._Database] = {}
        shutil.rmtree(self._fresh, ignore_errors=True)  # an attempt at writing it anew that did not come to its end
        self.first_id, self.last_id = self._id_range()

    @property
    def _fresh(self) -> Path:
        return self.folder / "fresh"

    @property
    def is_open(self) -> bool:
        """Whether its files are mapped now."""
        return self._env is not None

    @property
    def disk_bytes(self) -> int:
        """What the files take on the disk, not what they seem to be long."""
        return sum(file.stat().st_blocks * 512 for file in self.folder.glob("*") if file.is_file())

    def write(self, entries: Sequence[Entry], ends: dict[int, int]) -> None:
        """Commits blocks and new end times in one transaction; on return they are durable.

        Raises:
            StoreUnwritable: the disk is full or the folder cannot be written; nothing of the group was kept.
        """
        with self._writing, self._transaction(write=True) as (txn, tables):
            for info, record, signature, picture in entries:
                key = _KEY.pack(info.block_id)
                txn.put(key, record, db=tables["blocks"])
                txn.put(key, _pack_span(info), db=tables["spans"])
                shape = _SHAPE.pack(*signature.shape)
                txn.put(key, seal(shape + signature.half().numpy().tobytes()), db=tables["signatures"])
                if picture:
                    txn.put(key, seal(picture), db=tables["pictures"])
            for block_id, end_ns in ends.items():
                key = _KEY.pack(block_id)
                old = txn.get(key, db=tables["spans"])
                if old is not None:
                    txn.put(
                        key, _pack_span(_read_span(block_id, bytes(old))._replace(end_ns=end_ns)), db=tables["spans"]
                    )
        for info, *_ in entries:
            self.first_id = min(self.first_id or info.block_id, info.block_id)
            self.last_id = max(self.last_id, info.block_id)

    def forget(self, block_ids: Collection[int]) -> None:
        """Removes blocks, and every byte of theirs from the files; a crash leaves all of them or none.

        The others are written into a new file, which then takes the old one's place. Reads go on meanwhile.

        Raises:
            StoreUnwritable: there is no room for the new file; nothing was removed.
        """
        gone = set(block_ids)
        self._drop({name: gone for name in _TABLES})

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
                    (check_record if name == "blocks" else _check_seal)(value)
                except StorageError as exc:
                    found[block_id][name] = str(exc)
        for name in ("blocks", "spans", "signatures"):
            for block_id in set().union(*there.values()) - there[name]:
                found[block_id][name] = "is missing"
        return found

    def repair(self, damage: dict[int, dict[str, str]]) -> None:
        """Removes what is damaged: a picture alone, or the block with all that belongs to it.

        Raises:
            StoreUnwritable: there is no room for the new file; nothing was removed.
        """
        whole = {block_id for block_id, wrong in damage.items() if wrong.keys() != {"pictures"}}
        self._drop({name: set(damage) if name == "pictures" else whole for name in _TABLES})

    def _drop(self, gone: dict[str, set[int]]) -> None:
        """Writes the files anew without some rows of each table."""
        with self._writing:
            try:
                self._write_anew(gone)
            except (lmdb.Error, OSError) as exc:
                shutil.rmtree(self._fresh, ignore_errors=True)
                raise StoreUnwritable(f"{self.folder} cannot be written anew: {exc}") from exc
            with self._lock:
                self.close()
                os.replace(self._fresh / "data.mdb", self.folder / "data.mdb")
                _sync_folder(self.folder)
                shutil.rmtree(self._fresh)
                self.first_id, self.last_id = self._id_range()

    def _write_anew(self, gone: dict[str, set[int]]) -> None:
        shutil.rmtree(self._fresh, ignore_errors=True)
        self._fresh.mkdir()
        with lmdb.open(str(self._fresh), map_size=self._map_bytes, max_dbs=len(_TABLES)) as env:
            for name in _TABLES:
                table = env.open_db(name.encode())
                for batch in self._batches(name):
                    with env.begin(write=True, db=table) as txn:
                        for key, value in batch:
                            if _KEY.unpack(key)[0] not in gone[name]:
                                txn.put(key, value, append=True)

    def record(self, block_id: int) -> bytes:
        """The sealed record of a block.

        Raises:
            BlockNotFound: this day does not hold it.
        """
        return self._get("blocks", block_id)

    def picture(self, block_id: int) -> bytes:
        """The JPEG of a block, or empty where it has none."""
        try:
            return bytes(unseal(self._get("pictures", block_id), f"the picture of block {block_id}"))
        except BlockNotFound:
            return b""

    def info(self, block_id: int) -> BlockInfo:
        """The span of a block as last extended."""
        return _read_span(block_id, self._get("spans", block_id))

    def ids(self) -> list[int]:
        """Every block's id, in order; of the values only the spans are read, and not checked."""
        return [block_id for block_id, _ in self._scan("spans")]

    def infos(self) -> Iterator[BlockInfo]:
        """Every block in id order; no transaction stays open between two of them."""
        for block_id, value in self._scan("spans"):
            yield _read_span(block_id, value)

    def signatures(self, damaged: Callable[[int, StorageError], None]) -> Iterator[tuple[BlockInfo, Tensor]]:
        """Every block with its signature `[N, E]`, in id order; of one that cannot be read, `damaged` is told."""
        for block_id, value in self._scan("signatures"):
            try:
                body = unseal(value, f"the signature of block {block_id}")
                info = self.info(block_id)
            except (CorruptBlock, BlockNotFound) as exc:
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

    def _get(self, table: str, block_id: int) -> bytes:
        with self._transaction() as (txn, tables):
            value = txn.get(_KEY.pack(block_id), db=tables[table])
        if value is None:
            raise BlockNotFound(f"block {block_id} is not in {self.folder}")
        return bytes(value)

    def _scan(self, table: str) -> Iterator[tuple[int, bytes]]:
        for batch in self._batches(table):
            for key, value in batch:
                yield _KEY.unpack(key)[0], value

    def _batches(self, table: str) -> Iterator[list[tuple[bytes, bytes]]]:
        """Keys and values in order; no transaction stays open between two batches."""
        after = b""
        while True:
            with self._transaction() as (txn, tables), txn.cursor(db=tables[table]) as cursor:
                batch = []
                if cursor.set_range(after):
                    for key, value in cursor:
                        batch.append((bytes(key), bytes(value)))
                        if len(batch) == _READ_AT_ONCE:
                            break
            yield batch
            if len(batch) < _READ_AT_ONCE:
                return
            after = _KEY.pack(_KEY.unpack(batch[-1][0])[0] + 1)

    def _id_range(self) -> tuple[int, int]:
        if not (self.folder / "data.mdb").exists():
            return 0, 0
        with self._transaction() as (txn, tables), txn.cursor(db=tables["spans"]) as cursor:
            first = _KEY.unpack(cursor.key())[0] if cursor.first() else 0
            last = _KEY.unpack(cursor.key())[0] if cursor.last() else 0
        self.close()
        return first, last

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[tuple[lmdb.Transaction, dict[str, lmdb._Database]]]:
        with self._lock:
            try:
                env = self._open()
                with env.begin(write=write) as txn:
                    yield txn, self._tables
            except (lmdb.MapFullError, lmdb.DiskError) as exc:
                raise StoreUnwritable(f"{self.folder} cannot take more: {exc}") from exc
            except lmdb.CorruptedError as exc:
                raise CorruptBlock(f"{self.folder}: {exc}") from exc
            except (lmdb.Error, OSError) as exc:
                raise (StoreUnwritable if write else StorageError)(f"{self.folder}: {exc}") from exc

    def _open(self) -> lmdb.Environment:
        if self._env is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            env = lmdb.open(
                str(self.folder), map_size=self._map_bytes, max_dbs=len(_TABLES), readahead=False, max_readers=32
            )
            env.reader_check()
            self._tables = {name: env.open_db(name.encode()) for name in _TABLES}
            self._env = env
        return self._env


def _check_seal(value: bytes) -> None:
    unseal(value, "it")


def _pack_span(info: BlockInfo) -> bytes:
    return seal(_SPAN.pack(info.start_ns, info.end_ns, info.tokens, info.gap))


def _read_span(block_id: int, value: bytes) -> BlockInfo:
    return BlockInfo(block_id, *_SPAN.unpack(unseal(bytes(value), f"the span of block {block_id}")))


def _sync_folder(folder: Path) -> None:
    """Makes a renamed file's name durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
