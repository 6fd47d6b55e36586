"""`SearchResult`: what a search over several days finds, and the search itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import NamedTuple

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .clusters import Clusters, find_nearest_lists
from .day import IndexDay
from .flat import NearestRows

MANY_DAYS = 12  # in clusters: of so many, none gives all of k, since to keep the k best of each is half the work


class SearchResult(NamedTuple):
    """What a search found: `[queries, k]` block ids (−1 where there are fewer) and inner products, best first."""

    block_ids: NDArray[np.int64]
    scores: NDArray[np.float32]


class SearchedDay(NamedTuple):
    """A day to search, and which of its blocks may be found; None is all."""

    day: IndexDay
    allowed: NDArray[np.bool_] | None


def search_days(days: Sequence[SearchedDay], queries: Mapping[int, Tensor], k: int) -> list[SearchResult]:
    """The k nearest vectors to each query, over all days together; a result for each part that is searched.

    A day in clusters of which all blocks may be found can miss a vector (see `Clusters`), and of a dozen such days each
    gives a third of k at most. Any other day misses none.

    Args:
        queries: of each part of the days' vectors, by its number, `[n, D]`.
    """
    asked = {part: np.ascontiguousarray(some.to(torch.float32).cpu().numpy()) for part, some in queries.items()}
    searches = [search for part, some in asked.items() for search in _plan_searches(part, some, k, days)]
    near = list(_threads().map(lambda search: search(), searches))
    found = []
    for place, (part, some) in enumerate(asked.items()):
        of_part = near[place * len(days) : (place + 1) * len(days)]
        found.append(_merge_days(part, of_part, days, len(some), k))
    return found


def _plan_searches(
    part: int, queries: NDArray[np.float32], k: int, days: Sequence[SearchedDay]
) -> list[Callable[[], NearestRows]]:
    """A search for each day, none of which waits for another."""
    whole = [v for day, allowed in days if allowed is None and isinstance(v := day.vectors[part], Clusters)]
    lists = iter(find_nearest_lists(queries, k, whole) if whole else ())
    of_a_day = k if len(whole) < MANY_DAYS else max(1, k // 3)
    searches: list[Callable[[], NearestRows]] = []
    for day, allowed in days:
        vectors = day.vectors[part]
        most = min(k, len(vectors))
        if allowed is None and isinstance(vectors, Clusters):
            searches.append(partial(vectors.look, queries, min(most, of_a_day), next(lists)))
        else:
            rows = None if allowed is None else np.repeat(allowed, day.shapes[part][0])
            searches.append(partial(vectors.search, queries, most, rows))
    return searches


def _merge_days(
    part: int, near: Sequence[NearestRows], days: Sequence[SearchedDay], queries: int, k: int
) -> SearchResult:
    """The best of all days. For one query and k = 3:

        day 1:  block 4   0.9  0.7  0.2          side by side:  4 0.9 | 4 0.7 | 5 0.2 | 9 0.9 | 8 0.7 | 8 0.1
        day 2:  block 9   0.9  0.7  0.1          best, then older, first:  4 0.9 | 9 0.9 | 4 0.7

    Of equal scores the older block comes first, in whatever order the days were searched: else the same question would
    recall other blocks after a restart. A day with fewer than k vectors gives fewer, or block −1.
    """
    ids, scores = [np.empty((queries, 0), np.int64)], [np.empty((queries, 0), np.float32)]
    for (day, _), found in zip(days, near, strict=True):
        blocks = day.blocks["block_id"][found.rows // day.shapes[part][0]]
        ids.append(np.where(found.rows >= 0, blocks, -1))
        scores.append(found.scores)
    block_ids, products = np.concatenate(ids, 1), np.concatenate(scores, 1)
    if products.shape[1] > 2 * k:
        # Sorting all that many days gave takes longer than looking for the k-th best and sorting what reaches it.
        # All that equals the k-th best is kept as well, so that the ids decide among equals here too.
        worst = np.partition(products, -k, 1)[:, -k, None]
        width = int((products >= worst).sum(1).max())
        near_enough = np.argpartition(-products, width - 1, 1)[:, :width]
        block_ids = np.take_along_axis(block_ids, near_enough, 1)
        products = np.take_along_axis(products, near_enough, 1)
    order = np.lexsort((block_ids, -products))[:, :k]
    return SearchResult(np.take_along_axis(block_ids, order, 1), np.take_along_axis(products, order, 1))


@cache
def _threads() -> ThreadPoolExecutor:
    """FAISS counts its own threads for each of ours: one is enough, so that torch's do not stand in their way."""
    return ThreadPoolExecutor(min(4, os.cpu_count() or 1), "search", faiss.omp_set_num_threads, (1,))
