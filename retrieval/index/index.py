"""`SignatureIndex`: one stream's signatures in FAISS, a part for each UTC day, so that a day can be dropped whole.

Derived from the store and rebuilt from it. A day may come without its vectors, which are then opened when they are
first needed. Belongs to one thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import NamedTuple

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...memory.block import BlockInfo
from ..blockrows import BlockRows
from ..time.span import Span
from .clusters import Clusters, nearest_lists
from .day import SPAN_ROWS, ClosedDay, Day
from .flat import Near

_DAY_NS = 86_400 * 1_000_000_000
MANY_DAYS = 12  # in clusters: of so many, none gives all of k, since to keep the k best of each is half the work
_NO_ROWS = np.empty(0, SPAN_ROWS)


class Found(NamedTuple):
    """What a search found: `[queries, k]` block ids (−1 where there are fewer) and inner products, best first."""

    block_ids: NDArray[np.int64]
    scores: NDArray[np.float32]


class _Asked(NamedTuple):
    """A day to search, and which of its blocks may be found; None is all."""

    day: Day
    allowed: NDArray[np.bool_] | None


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
        if not day.may_grow:
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

    def infos(self, span: Span | None = None) -> BlockRows:
        """The blocks that a span touches, in order of arrival."""
        days = [day.blocks for _, day in sorted(self._days.items())]
        return BlockRows(np.concatenate([_NO_ROWS, *(blocks[_touched(blocks, span)] for blocks in days)]))

    def gaps(self, span: Span | None = None) -> list[BlockInfo]:
        """As `infos`, of the blocks that stand for no video."""
        days = [day.blocks for _, day in sorted(self._days.items())]  # taken once: a day grows meanwhile
        return [BlockInfo(*row.tolist()) for blocks in days for row in blocks[blocks["gap"] & _touched(blocks, span)]]

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
        return sum(int(_touched(day.blocks, span).sum()) for day in list(self._days.values()))

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
        touched = [blocks[_touched(blocks, span)] for blocks in days]
        rows = np.concatenate([blocks[~np.isin(blocks["block_id"], [*exclude])] for blocks in touched or [_NO_ROWS]])
        places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
        return [BlockInfo(*row.tolist()) for row in rows[places]]

    def search(self, part: int, queries: Tensor, k: int, span: Span | None = None) -> Found:
        """As `search_parts`, of one part."""
        return self.search_parts({part: queries}, k, span)[part]

    def search_parts(self, queries: Mapping[int, Tensor], k: int, span: Span | None = None) -> dict[int, Found]:
        """The k nearest vectors of some parts to each of their queries `[n, D]`, over all days that the span touches.

        A day in clusters of which the whole is asked for may miss a vector (see `Clusters`), and of a dozen such days
        each gives a third of k at most. Any other day misses none.
        """
        days = list(self._touched_days(span))
        asked = {part: np.ascontiguousarray(some.to(torch.float32).cpu().numpy()) for part, some in queries.items()}
        searches = [search for part, some in asked.items() for search in _searches(part, some, k, days)]
        near = list(_threads().map(lambda search: search(), searches))
        found = {}
        for place, (part, some) in enumerate(asked.items()):
            of_part = near[place * len(days) : (place + 1) * len(days)]
            found[part] = _best(part, of_part, days, len(some), k)
        return found

    def _touched_days(self, span: Span | None) -> Iterator[_Asked]:
        for number, known in list(self._days.items()):
            if span is None or _touched(known.blocks, span).any():
                day = self._opened(number)
                allowed = _touched(day.blocks, span)
                yield _Asked(day, None if allowed.all() else allowed)

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


def _searches(part: int, queries: NDArray[np.float32], k: int, days: Sequence[_Asked]) -> list[Callable[[], Near]]:
    """What is to be done for each day, none of which waits for another."""
    whole = [v for day, allowed in days if allowed is None and isinstance(v := day.vectors[part], Clusters)]
    lists = iter(nearest_lists(queries, k, whole) if whole else ())
    of_a_day = k if len(whole) < MANY_DAYS else max(1, k // 3)
    searches: list[Callable[[], Near]] = []
    for day, allowed in days:
        vectors = day.vectors[part]
        most = min(k, len(vectors))
        if allowed is None and isinstance(vectors, Clusters):
            searches.append(partial(vectors.look, queries, min(most, of_a_day), next(lists)))
        else:
            rows = None if allowed is None else np.repeat(allowed, day.shapes[part][0])
            searches.append(partial(vectors.search, queries, most, rows))
    return searches


def _best(part: int, near: Sequence[Near], days: Sequence[_Asked], queries: int, k: int) -> Found:
    """The best of all days; of equals the older block first, whatever the order in which they were found."""
    ids, scores = [np.empty((queries, 0), np.int64)], [np.empty((queries, 0), np.float32)]
    for (day, _), found in zip(days, near, strict=True):
        blocks = day.blocks["block_id"][found.rows // day.shapes[part][0]]
        ids.append(np.where(found.rows >= 0, blocks, -1))
        scores.append(found.scores)
    block_ids, products = np.concatenate(ids, 1), np.concatenate(scores, 1)
    if products.shape[1] > 2 * k:  # sorting all of many days' takes longer than looking for the worst of the best
        worst = np.partition(products, -k, 1)[:, -k, None]
        width = int((products >= worst).sum(1).max())
        near_enough = np.argpartition(-products, width - 1, 1)[:, :width]
        block_ids = np.take_along_axis(block_ids, near_enough, 1)
        products = np.take_along_axis(products, near_enough, 1)
    order = np.lexsort((block_ids, -products))[:, :k]
    return Found(np.take_along_axis(block_ids, order, 1), np.take_along_axis(products, order, 1))


@cache
def _threads() -> ThreadPoolExecutor:
    """FAISS counts its own threads for each of ours: one is enough, so that torch's do not stand in their way."""
    return ThreadPoolExecutor(min(4, os.cpu_count() or 1), "search", faiss.omp_set_num_threads, (1,))
