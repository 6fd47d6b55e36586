"""`DayFile`: a past day of an index as one file, of which a start reads only the first part.

    | header | each part's shape, length and checksum | a row for each block | checksum || FAISS of part 0 | part 1 | …

What stands before the double line is read and checked at once, the rest when the day is first searched. The vectors
are searched in the mapped file, so the system can take their memory back at any time. The file is made from a day's
data and names their state; if the day has changed since, the file is refused.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import crc32c
import faiss
import numpy as np
from numpy.typing import NDArray

from ...memory.partition import PartitionVersion
from ..errors import UnfitIndexFile
from .clusters import Clusters
from .day import SPAN_ROWS, ClosedDay, IndexDay
from .flat import Flat

MAGIC, VERSION = b"LWIX", 2
_Faiss: Any = faiss
_HEADER = struct.Struct("<4sIIIQQQQ")
_PART = struct.Struct("<IIQI")
_CHECKSUM = struct.Struct("<I")


class _Part(NamedTuple):
    per_block: int
    dim: int
    length: int
    checksum: int


def pack_day(day: IndexDay, data_version: PartitionVersion) -> list[bytes]:
    """A file's content.

    Args:
        data_version: the state of the data that the day was made from.
    """
    bodies = [_Faiss.serialize_index(part.index).tobytes() for part in day.vectors]
    head = _HEADER.pack(MAGIC, VERSION, len(bodies), day.count, *data_version)
    for (per_block, dim), body in zip(day.shapes, bodies, strict=True):
        head += _PART.pack(per_block, dim, len(body), crc32c.crc32c(body))
    head += day.blocks.tobytes()
    return [head, _CHECKSUM.pack(crc32c.crc32c(head)), *bodies]


def read_day(path: Path, data_version: PartitionVersion, shapes: Sequence[tuple[int, int]]) -> ClosedDay:
    """The day in a file. Its `open` reads the vectors, and raises the same.

    Args:
        data_version: the state of the data that lies beside it now.
        shapes: of the index that wants it.

    Raises:
        UnfitIndexFile: it is damaged, or was made from other data or by another version.
    """
    try:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as exc:  # a file of no bytes cannot be mapped
        raise UnfitIndexFile(f"{path} cannot be read: {exc}") from exc
    if len(data) < _HEADER.size:
        raise UnfitIndexFile(f"{path} has {len(data)} bytes, fewer than its header")
    magic, version, part_count, count, *state = _HEADER.unpack(data[: _HEADER.size])
    if (magic, version) != (MAGIC, VERSION):
        raise UnfitIndexFile(f"{path} is not an index file of this version")
    rows_at = _HEADER.size + part_count * _PART.size
    end = rows_at + count * SPAN_ROWS.itemsize
    if data[end : end + _CHECKSUM.size] != _CHECKSUM.pack(crc32c.crc32c(data[:end])):
        raise UnfitIndexFile(f"{path}: the checksum does not hold")
    parts = [_Part(*part) for part in _PART.iter_unpack(data[_HEADER.size : rows_at])]
    if (
        PartitionVersion(*state) != data_version
        or [(part.per_block, part.dim) for part in parts] != list(shapes)
        or not count
    ):
        raise UnfitIndexFile(f"{path} was made from other data: {state}, not {list(data_version)}")
    rows = np.frombuffer(data, SPAN_ROWS, count, rows_at)

    def open_vectors() -> IndexDay:
        day, at = IndexDay(shapes), end + _CHECKSUM.size
        day.rows, day.count = rows.copy(), count
        day.vectors, day.mapped = [], data
        for part in parts:
            body = data[at : at + part.length]
            at += part.length
            if len(body) != part.length or crc32c.crc32c(body) != part.checksum:
                raise UnfitIndexFile(f"{path}: the checksum of its vectors does not hold")
            day.vectors.append(_map_vectors(path, np.frombuffer(body, np.uint8)))
        return day

    return ClosedDay(rows.copy(), open_vectors)


def _map_vectors(path: Path, data: NDArray[np.uint8]) -> Flat | Clusters:
    """Vectors that stay in the file; `data` must outlive them."""
    try:
        index = _Faiss.read_index(_Faiss.ZeroCopyIOReader(_Faiss.swig_ptr(data), len(data)))
    except RuntimeError as exc:
        raise UnfitIndexFile(f"{path} was written by another FAISS: {exc}") from exc
    return Clusters(index) if isinstance(index, _Faiss.IndexIVF) else Flat(index.d, index)
