"""`SignatureIndex`: one stream's signatures in FAISS, a part for each UTC day, so that a day can be dropped whole.

Derived from the store and rebuilt from it. A day may come without its vectors, which are then opened when they are
first needed. Belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...memory.block import BlockInfo
from ..blockrows import BlockRows
from ..signature import SignaturePart
from ..time.span import Span
from .day import SPAN_ROWS, ClosedDay, IndexDay
from .search import SearchedDay, SearchResult, search_days

_DAY_NS = 86_400 * 1_000_000_000
_NO_ROWS = np.empty(0, SPAN_ROWS)


class SignatureIndex:
    """Which blocks of a stream have a vector near a query, in a time span.

    Args:
        parts: the pieces of a signature that are searched, each on its own.

    Attributes:
        shapes: (vectors per block, dims) of each of them.
    """

    def __init__(self, parts: Sequence[SignaturePart]) -> None:
        self.parts = list(parts)
        self.shapes = [(part.vectors, part.dim) for part in parts]
        self._days: dict[int, IndexDay | ClosedDay] = {}  # replaced, never shrunk in place: other threads may look

    def __len__(self) -> int:
        return sum(day.count for day in list(self._days.values()))

    def cut(self, signature: Tensor) -> list[Tensor]:
        """What `add` wants of a signature: each part's vectors, float32."""
        return [part.cut(signature) for part in self.parts]

    def take(self, day: IndexDay | ClosedDay) -> None:
        """Takes in a whole day, which has blocks."""
        self._days[_day_number(day)] = day

    def replace(self, day: ClosedDay) -> None:
        """Puts a day in the place of the same one, if that still holds the very same blocks."""
        old = self._days.get(_day_number(day))
        if old is not None and np.array_equal(old.blocks, day.blocks):
            self._days[_day_number(day)] = day

    def add(self, info: BlockInfo, vectors: Sequence[Tensor]) -> None:
        """Takes a block in, with what `cut` made of its signature; ids rise."""
        number = info.start_ns // _DAY_NS
        day = self._open(number) if number in self._days else IndexDay(self.shapes)
        if not day.may_grow:
            day = day.only(np.ones(day.count, np.bool_))
        day.add(info, vectors)
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
                day = self._open(number)  # which may have found that it holds fewer
                self._days[number] = day.only(~np.isin(day.blocks["block_id"], gone))

    def infos(self, span: Span | None = None) -> BlockRows:
        """The blocks that a span touches, in order of arrival."""
        days = [day.blocks for _, day in sorted(self._days.items())]
        return BlockRows(np.concatenate([_NO_ROWS, *(blocks[_touches(blocks, span)] for blocks in days)]))

    def gaps(self, span: Span | None = None) -> list[BlockInfo]:
        """As `infos`, of the blocks that stand for no video."""
        days = [day.blocks for _, day in sorted(self._days.items())]  # taken once: a day grows meanwhile
        return [BlockInfo(*row.tolist()) for blocks in days for row in blocks[blocks["gap"] & _touches(blocks, span)]]

    def by_id(self, block_ids: Sequence[int]) -> list[BlockInfo]:
        """The blocks of these ids, in the order given; unknown ids are left out."""
        wanted = np.asarray(block_ids, np.int64)
        found: dict[int, BlockInfo] = {}
        for day in list(self._days.values()):
            ids = day.blocks["block_id"]
            at = np.searchsorted(ids, wanted).clip(max=len(ids) - 1)
            for row in day.blocks[at[ids[at] == wanted]]:
                found[int(row["block_id"])] = BlockInfo(*row.tolist())
        return [found[block_id] for block_id in block_ids if block_id in found]

    def count(self, span: Span | None) -> int:
        """How many blocks a span touches."""
        if span is None:
            return len(self)
        return sum(int(_touches(day.blocks, span).sum()) for day in list(self._days.values()))

    def first(self) -> BlockInfo | None:
        """The block with the earliest time, or None where there is none."""
        for _, day in sorted(self._days.items()):
            return BlockInfo(*day.blocks[day.blocks["start_ns"].argmin()].tolist())
        return None

    def newest(self, count: int) -> list[BlockInfo]:
        """The last blocks to arrive, oldest of them first: by their ids, since a clock may have been set back."""
        ends = [day.blocks[max(0, day.count - count) :] for day in list(self._days.values())]
        if not ends or count <= 0:
            return []
        rows = np.concatenate(ends)
        return [BlockInfo(*row.tolist()) for row in rows[np.argsort(rows["block_id"])[-count:]]]

    def evenly(self, count: int, span: Span | None, exclude: Collection[int]) -> list[BlockInfo]:
        """So many blocks evenly over those that a span touches, the first and the last with them, in order."""
        days = [day.blocks for _, day in sorted(self._days.items())]
        touched = [blocks[_touches(blocks, span)] for blocks in days]
        rows = np.concatenate([blocks[~np.isin(blocks["block_id"], [*exclude])] for blocks in touched or [_NO_ROWS]])
        places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
        return [BlockInfo(*row.tolist()) for row in rows[places]]

    def search(self, part: SignaturePart, queries: Tensor, k: int, span: Span | None = None) -> SearchResult:
        """As `search_parts`, of one part."""
        return self.search_parts({part: queries}, k, span)[part]

    def search_parts(
        self, queries: Mapping[SignaturePart, Tensor], k: int, span: Span | None = None
    ) -> dict[SignaturePart, SearchResult]:
        """The k nearest vectors of some parts to each of their queries `[n, D]`, over all days that the span touches.

        See `search_days` for what a day in clusters may miss.
        """
        of_places = {self.parts.index(part): some for part, some in queries.items()}
        found = search_days(list(self._touched_days(span)), of_places, k)
        return dict(zip(queries, found, strict=True))

    def _touched_days(self, span: Span | None) -> Iterator[SearchedDay]:
        for number, known in list(self._days.items()):
            if span is None or _touches(known.blocks, span).any():
                day = self._open(number)
                allowed = _touches(day.blocks, span)
                yield SearchedDay(day, None if allowed.all() else allowed)

    def _open(self, number: int) -> IndexDay:
        """The day with its vectors, which are read now where it came without."""
        day = self._days[number]
        if isinstance(day, ClosedDay):
            known, day = day.blocks, day.open()
            if day.count == len(known):
                day.rows = known  # in which a block may have lasted longer by now
            self._days[number] = day
        return day


def _day_number(day: IndexDay | ClosedDay) -> int:
    return int(day.blocks["start_ns"][0]) // _DAY_NS


def _touches(blocks: NDArray[np.void], span: Span | None) -> NDArray[np.bool_]:
    """Which of the blocks lie in the span, if only in part."""
    touched = np.ones(len(blocks), np.bool_)
    if span is not None and span.until_ns is not None:
        touched &= blocks["start_ns"] <= span.until_ns
    if span is not None and span.since_ns is not None:
        touched &= blocks["end_ns"] >= span.since_ns
    return touched
