"""The rows of a day's file: which tables it has, and how a row is coded. Knows nothing of files.

    blocks      id → a sealed record, the packed keys and values        see `record.py`
    spans       id → start, end, tokens, gap; rewritten while a quiet scene makes its last block longer
    signatures  id → shape, float16 vectors
    pictures    id → JPEG
    scales      digest + copy → what scaled blocks were quantised against, twice, since a whole day depends on it

An id is eight big-endian bytes, so that LMDB's order is the order of ids. Every value carries a checksum.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import lmdb
import numpy as np
import torch
from torch import Tensor

from .block import BlockInfo
from .errors import CorruptBlock
from .record import seal, unseal
from .scales import Scales

TABLES = ("blocks", "spans", "signatures", "pictures")  # those with block ids for keys
SCALES = "scales"
Tables = Mapping[str, lmdb._Database]
_KEY = struct.Struct(">Q")
_SPAN = struct.Struct(">qqI?")
_SHAPE = struct.Struct(">HH")
_COPIES = (b"0", b"1")


class Entry(NamedTuple):
    """One block on its way to disk. Its `record` is sealed already, against `scales` if there are any."""

    info: BlockInfo
    record: bytes
    signature: Tensor
    picture: bytes
    scales: Scales | None = None

    @property
    def size_bytes(self) -> int:
        """What it takes of the memory while it waits."""
        return len(self.record) + len(self.picture) + self.signature.numel() * 2


def pack_id(block_id: int) -> bytes:
    """A block's key."""
    return _KEY.pack(block_id)


def read_id(key: bytes | memoryview) -> int:
    """The id that a key stands for."""
    block_id: int = _KEY.unpack(key)[0]
    return block_id


def pack_span(info: BlockInfo) -> bytes:
    """A block's span, sealed."""
    return seal(_SPAN.pack(info.start_ns, info.end_ns, info.tokens, info.gap))


def read_span(block_id: int, value: bytes) -> BlockInfo:
    """A block's span.

    Raises:
        CorruptBlock: the checksum does not hold.
    """
    return BlockInfo(block_id, *_SPAN.unpack(unseal(value, f"the span of block {block_id}")))


def pack_signature(signature: Tensor) -> bytes:
    """A signature `[N, E]` as float16, sealed."""
    return seal(_SHAPE.pack(*signature.shape) + signature.half().numpy().tobytes())


def read_signature(block_id: int, value: bytes) -> Tensor:
    """A signature, float16 `[N, E]`.

    Raises:
        CorruptBlock: the checksum does not hold.
    """
    body = unseal(value, f"the signature of block {block_id}")
    rows, width = _SHAPE.unpack(body[: _SHAPE.size])
    return torch.from_numpy(np.frombuffer(body[_SHAPE.size :], np.float16).reshape(rows, width).copy())


def pack_picture(block_id: int, picture: bytes) -> bytes:
    """A picture, sealed for its block alone: it holds nothing else that says whose it is."""
    return seal(picture, pack_id(block_id))


def read_picture(block_id: int, value: bytes) -> bytes:
    """A picture.

    Raises:
        CorruptBlock: the checksum does not hold, or it is another block's.
    """
    return bytes(unseal(value, f"the picture of block {block_id}", pack_id(block_id)))


def check_value(table: str, block_id: int, value: bytes, what: str) -> None:
    """Checks a row of any table but `blocks`.

    Args:
        what: begins the sentence of an error.

    Raises:
        CorruptBlock: the checksum does not hold.
    """
    unseal(value, what, pack_id(block_id) if table == "pictures" else b"")


def read_scales(value: bytes) -> Scales:
    """One copy of the scales.

    Raises:
        CorruptBlock: the checksum does not hold, or it cannot be decompressed.
    """
    return Scales.unpack(unseal(value, "the scales"))


def put_entries(txn: lmdb.Transaction, tables: Tables, entries: Iterable[Entry]) -> None:
    """Puts all that belongs to some blocks into a transaction."""
    for info, record, signature, picture, scales in entries:
        key = pack_id(info.block_id)
        txn.put(key, record, db=tables["blocks"])
        txn.put(key, pack_span(info), db=tables["spans"])
        txn.put(key, pack_signature(signature), db=tables["signatures"])
        if picture:
            txn.put(key, pack_picture(info.block_id, picture), db=tables["pictures"])
        if scales is not None:
            put_scales(txn, tables[SCALES], scales)


def put_ends(txn: lmdb.Transaction, tables: Tables, ends: Mapping[int, int]) -> None:
    """Gives blocks that are there a new end time. A span that cannot be read is left as it is, for the doctor."""
    for block_id, end_ns in ends.items():
        key = pack_id(block_id)
        old = txn.get(key, db=tables["spans"])
        if old is not None:
            with contextlib.suppress(CorruptBlock):
                txn.put(key, pack_span(read_span(block_id, bytes(old))._replace(end_ns=end_ns)), db=tables["spans"])


def put_scales(txn: lmdb.Transaction, table: lmdb._Database, scales: Scales) -> None:
    """Puts both copies, unless they are there."""
    for copy in _COPIES:
        txn.put(scales.digest + copy, seal(scales.packed), db=table, overwrite=False)


def put_behind(txn: lmdb.Transaction, table: lmdb._Database, rows: Sequence[tuple[int, bytes]]) -> None:
    """Puts rows behind all that the table has. Their ids rise, and LMDB then fills its pages."""
    for block_id, value in rows:
        txn.put(pack_id(block_id), value, db=table, append=True)
