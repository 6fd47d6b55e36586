"""`SignatureIndex`: one stream's signatures in FAISS, a part for each UTC day, so that a day can be dropped whole.

Derived from the store and rebuilt from it. Belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..memory.block import BlockInfo
from .timespan import Span

_Faiss: Any = faiss  # its own type hints know only the C++ signatures
_Faiss.omp_set_num_threads(1)

_DAY_NS = 86_400 * 1_000_000_000
_SPAN_ROWS = np.dtype([("block_id", "i8"), ("start_ns", "i8"), ("end_ns", "i8"), ("tokens", "i4"), ("gap", "?")])


class Found(NamedTuple):
    """Rows that a search found: `[queries, k]` block ids (−1 where there are fewer) and inner products."""

    block_ids: NDArray[np.int64]
    scores: NDArray[np.float32]


class _Day:
    """The blocks of a day in order of arrival, and their vectors."""

    def __init__(self, shapes: Sequence[tuple[int, int]]) -> None:
        self.rows = np.empty(256, _SPAN_ROWS)
        self.count = 0
        self._shapes = shapes
        self.per_block = [rows for rows, _ in shapes]
        # Signatures are kept in 16 bits, so this loses nothing, and searches faster than 32 (8 ms against 13 for
        # eight queries over 160,000 vectors on a core).
        self.vectors = [
            faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
            for _, dim in shapes
        ]

    @property
    def blocks(self) -> NDArray[np.void]:
        return self.rows[: self.count]

    def add(self, info: BlockInfo, parts: Sequence[Tensor]) -> None:
        if self.count == len(self.rows):
            self.rows = np.concatenate([self.rows, np.empty_like(self.rows)])
        self.rows[self.count] = tuple(info)
        self.count += 1
        for index, part in zip(self.vectors, parts, strict=True):
            index.add(np.ascontiguousarray(part.numpy()))

    def only(self, stays: NDArray[np.bool_]) -> _Day:
        """The same without some blocks."""
        day = _Day(self._shapes)
        day.rows, day.count = self.blocks[stays].copy(), int(stays.sum())
        for old, new, per_block in zip(self.vectors, day.vectors, self.per_block, strict=True):
            new.add(old.reconstruct_n(0, old.ntotal)[np.repeat(stays, per_block)])
        return day

    def search(self, part: int, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None) -> Found:
        per_block, index = self.per_block[part], self.vectors[part]
        parameters = None
        if allowed is not None:
            bits = np.packbits(np.repeat(allowed, per_block), bitorder="little")
            parameters = _Faiss.SearchParameters(sel=_Faiss.IDSelectorBitmap(bits))
        scores, rows = index.search(queries, min(k, index.ntotal), params=parameters)
        ids = np.where(rows >= 0, self.blocks["block_id"][rows // per_block], -1)
        return Found(ids, scores)


class SignatureIndex:
    """Which blocks of a stream have a vector near a query, in a time span.

    Args:
        shapes: (vectors per block, dims) of each part of a signature that is searched on its own.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]]) -> None:
        self._shapes = list(shapes)
        self._days: dict[int, _Day] = {}  # replaced, never shrunk in place: other threads may look

    def __len__(self) -> int:
        return sum(day.count for day in self._days.values())

    def add(self, info: BlockInfo, parts: Sequence[Tensor]) -> None:
        """Takes a block in; ids rise. Parts are float32, shaped as `shapes` says."""
        day = self._days.setdefault(info.start_ns // _DAY_NS, _Day(self._shapes))
        day.add(info, parts)

    def extend(self, info: BlockInfo, end_ns: int) -> None:
        """Notes that a block lasted longer."""
        rows = self._days[info.start_ns // _DAY_NS].blocks
        rows["end_ns"][np.searchsorted(rows["block_id"], info.block_id)] = end_ns

    def forget(self, block_ids: Collection[int]) -> None:
        """Lets go of blocks."""
        gone = np.fromiter(block_ids, np.int64)
        for number, day in list(self._days.items()):
            stays = ~np.isin(day.blocks["block_id"], gone)
            if not stays.any():
                del self._days[number]
            elif not stays.all():
                self._days[number] = day.only(stays)

    def infos(self, span: Span | None = None) -> list[BlockInfo]:
        """The blocks that a span touches, in order of arrival."""
        return [
            BlockInfo(*row.tolist())
            for _, day in sorted(self._days.items())
            for row in (day.blocks if span is None else day.blocks[_touched(day.blocks, span)])
        ]

    def by_id(self, block_ids: Sequence[int]) -> list[BlockInfo]:
        """The blocks of these ids, in the order given; unknown ids are left out."""
        wanted = np.asarray(block_ids, np.int64)
        found = {
            int(row["block_id"]): BlockInfo(*row.tolist())
            for day in self._days.values()
            for row in day.blocks[np.isin(day.blocks["block_id"], wanted)]
        }
        return [found[block_id] for block_id in block_ids if block_id in found]

    def count(self, span: Span | None) -> int:
        """How many blocks a span touches."""
        if span is None:
            return len(self)
        return sum(int(_touched(day.blocks, span).sum()) for day in self._days.values())

    def first(self) -> BlockInfo | None:
        """The oldest block, or None where there is none."""
        for _, day in sorted(self._days.items()):
            return BlockInfo(*day.blocks[0].tolist())
        return None

    def newest(self, count: int) -> list[BlockInfo]:
        """The last blocks to arrive, oldest of them first."""
        newest: list[BlockInfo] = []
        for _, day in sorted(self._days.items(), reverse=True):
            room = count - len(newest)
            if room <= 0:
                break
            newest = [BlockInfo(*row.tolist()) for row in day.blocks[max(0, day.count - room) :]] + newest
        return newest

    def search(self, part: int, queries: Tensor, k: int, span: Span | None = None) -> Found:
        """The k nearest vectors of a part to each query `[n, D]`, over all days that the span touches."""
        wanted = np.ascontiguousarray(queries.to(torch.float32).cpu().numpy())
        found = []
        for day in self._days.values():
            allowed = None if span is None else _touched(day.blocks, span)
            if allowed is None or allowed.any():
                found.append(day.search(part, wanted, k, None if allowed is None or allowed.all() else allowed))
        if not found:
            return Found(np.empty((len(wanted), 0), np.int64), np.empty((len(wanted), 0), np.float32))
        return Found(np.concatenate([f.block_ids for f in found], 1), np.concatenate([f.scores for f in found], 1))


def _touched(blocks: NDArray[np.void], span: Span) -> NDArray[np.bool_]:
    touched = np.ones(len(blocks), np.bool_)
    if span.until_ns is not None:
        touched &= blocks["start_ns"] <= span.until_ns
    if span.since_ns is not None:
        touched &= blocks["end_ns"] >= span.since_ns
    return touched
