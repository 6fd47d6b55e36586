"""`SignatureIndex`: one stream's signatures in FAISS, a part for each UTC day, so that a day can be dropped whole.

Derived from the store and rebuilt from it. A day may come without its vectors, which are then opened when they are
first needed. Belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
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
SPAN_ROWS = np.dtype([("block_id", "i8"), ("start_ns", "i8"), ("end_ns", "i8"), ("tokens", "i4"), ("gap", "?")])
_NO_ROWS = np.empty(0, SPAN_ROWS)


class Found(NamedTuple):
    """Rows that a search found: `[queries, k]` block ids (−1 where there are fewer) and inner products."""

    block_ids: NDArray[np.int64]
    scores: NDArray[np.float32]


class Day:
    """The blocks of a day in order of arrival, and their vectors.

    Args:
        shapes: as for `SignatureIndex`.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]]) -> None:
        self.shapes = shapes
        self.rows = np.empty(256, SPAN_ROWS)
        self.count = 0
        self.per_block = [rows for rows, _ in shapes]
        # Signatures are kept in 16 bits, so this loses nothing, and searches faster than 32 (8 ms against 13 for
        # eight queries over 160,000 vectors on a core).
        self.vectors: list[Any] = [
            faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
            for _, dim in shapes
        ]
        self.mapped: object = None  # the file that the vectors lie in; None where they are in memory and may grow

    @property
    def blocks(self) -> NDArray[np.void]:
        """A row for each block."""
        return self.rows[: self.count]

    def add(self, info: BlockInfo, parts: Sequence[Tensor]) -> None:
        """Takes a block in."""
        if self.count == len(self.rows):
            self.rows = np.concatenate([self.rows, np.empty_like(self.rows)])
        self.rows[self.count] = tuple(info)
        self.count += 1
        for index, part in zip(self.vectors, parts, strict=True):
            index.add(np.ascontiguousarray(part.numpy()))

    def only(self, stays: NDArray[np.bool_]) -> Day:
        """The same without some blocks."""
        day = Day(self.shapes)
        day.rows, day.count = self.blocks[stays].copy(), int(stays.sum())
        for old, new, per_block in zip(self.vectors, day.vectors, self.per_block, strict=True):
            new.add(old.reconstruct_n(0, old.ntotal)[np.repeat(stays, per_block)])
        return day

    def search(self, part: int, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None) -> Found:
        """The k nearest vectors of a part to each query, of the blocks that are allowed; None allows all."""
        per_block, index = self.per_block[part], self.vectors[part]
        parameters = None
        if allowed is not None:
            bits = np.packbits(np.repeat(allowed, per_block), bitorder="little")
            parameters = _Faiss.SearchParameters(sel=_Faiss.IDSelectorBitmap(bits))
        scores, rows = index.search(queries, min(k, index.ntotal), params=parameters)
        ids = np.where(rows >= 0, self.blocks["block_id"][rows // per_block], -1)
        return Found(ids, scores)


@dataclass(frozen=True, eq=False)
class ClosedDay:
    """A day whose vectors have not been needed yet.

    Attributes:
        blocks: a row for each block.
        open: gives the whole day; called once.
    """

    blocks: NDArray[np.void]
    open: Callable[[], Day]

    @property
    def count(self) -> int:
        """How many blocks it holds."""
        return len(self.blocks)


class SignatureIndex:
    """Which blocks of a stream have a vector near a query, in a time span.

    Args:
        shapes: (vectors per block, dims) of each part of a signature that is searched on its own.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]]) -> None:
        self.shapes = list(shapes)
        self._days: dict[int, Day | ClosedDay] = {}  # replaced, never shrunk in place: other threads may look

    def __len__(self) -> int:
        return sum(day.count for day in list(self._days.values()))

    def take(self, day: Day | ClosedDay) -> None:
        """Takes in a whole day, which has blocks."""
        self._days[_number(day)] = day

    def replace(self, day: ClosedDay) -> None:
        """Puts a day in the place of the same one, if that still holds the very same blocks."""
        old = self._days.get(_number(day))
        if old is not None and np.array_equal(old.blocks, day.blocks):
            self._days[_number(day)] = day

    def add(self, info: BlockInfo, parts: Sequence[Tensor]) -> None:
        """Takes a block in; ids rise. Parts are float32, shaped as `shapes` says."""
        number = info.start_ns // _DAY_NS
        day = self._opened(number) if number in self._days else Day(self.shapes)
        if day.mapped is not None:
            day = day.only(np.ones(day.count, np.bool_))
        day.add(info, parts)
        self._days[number] = day

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
                day = self._opened(number)  # which may have found that it holds fewer
                self._days[number] = day.only(~np.isin(day.blocks["block_id"], gone))

    def infos(self, span: Span | None = None) -> list[BlockInfo]:
        """The blocks that a span touches, in order of arrival."""
        days = [day.blocks for _, day in sorted(self._days.items())]
        return [BlockInfo(*row.tolist()) for blocks in days for row in blocks[_touched(blocks, span)]]

    def gaps(self, span: Span | None = None) -> list[BlockInfo]:
        """As `infos`, of the blocks that stand for no video."""
        days = [day.blocks[day.blocks["gap"]] for _, day in sorted(self._days.items())]
        return [BlockInfo(*row.tolist()) for blocks in days for row in blocks[_touched(blocks, span)]]

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
        return sum(int(_touched(day.blocks, span).sum()) for day in list(self._days.values()))

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

    def evenly(self, count: int, span: Span | None, exclude: Collection[int]) -> list[BlockInfo]:
        """So many blocks evenly over those that a span touches, the first and the last with them, in order."""
        days = [day.blocks for _, day in sorted(self._days.items())]
        touched = [blocks[_touched(blocks, span)] for blocks in days]
        rows = np.concatenate([blocks[~np.isin(blocks["block_id"], [*exclude])] for blocks in touched or [_NO_ROWS]])
        places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
        return [BlockInfo(*row.tolist()) for row in rows[places]]

    def search(self, part: int, queries: Tensor, k: int, span: Span | None = None) -> Found:
        """The k nearest vectors of a part to each query `[n, D]`, over all days that the span touches."""
        wanted = np.ascontiguousarray(queries.to(torch.float32).cpu().numpy())
        found = []
        for number, known in list(self._days.items()):
            if _touched(known.blocks, span).any():
                day = self._opened(number)
                allowed = _touched(day.blocks, span)
                found.append(day.search(part, wanted, k, None if allowed.all() else allowed))
        if not found:
            return Found(np.empty((len(wanted), 0), np.int64), np.empty((len(wanted), 0), np.float32))
        return Found(np.concatenate([f.block_ids for f in found], 1), np.concatenate([f.scores for f in found], 1))

    def _opened(self, number: int) -> Day:
        day = self._days[number]
        if isinstance(day, ClosedDay):
            known, day = day.blocks, day.open()
            if day.count == len(known):
                day.rows = known  # in which a block may have lasted longer by now
            self._days[number] = day
        return day


def _number(day: Day | ClosedDay) -> int:
    return int(day.blocks["start_ns"][0]) // _DAY_NS


def _touched(blocks: NDArray[np.void], span: Span | None) -> NDArray[np.bool_]:
    touched = np.ones(len(blocks), np.bool_)
    if span is not None and span.until_ns is not None:
        touched &= blocks["start_ns"] <= span.until_ns
    if span is not None and span.since_ns is not None:
        touched &= blocks["end_ns"] >= span.since_ns
    return touched
