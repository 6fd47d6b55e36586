"""`Clusters`: the vectors of a day that is over, grouped by nearness, so that a search looks at few of them.

An inverted file (FAISS): k-means over the day's own vectors finds centres, and each vector goes into the list of its
nearest centre. A search looks only at the lists whose centres have the largest inner products with the query. The
vectors stay in 16 bits: on the embedded model's keys, eight bits are no faster to read, and four lose one block in
fifty or need a second look.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from .flat import NearestRows, select_rows

VECTORS_A_LIST = 320
FEWEST = 32 * VECTORS_A_LIST  # vectors; with fewer, a look at all of them is as quick
LISTS_A_DAY, LISTS_A_VECTOR = 64, 4  # looked at per query: in one day, and over all days for each vector wanted
_ROUNDS, _TRAINED_ON = 8, 64  # of k-means; vectors for each centre (FAISS asks for 39 at least)
_Faiss: Any = faiss


class Clusters:
    """Made at once and never changed.

    Args:
        index: of FAISS; it may lie in a file.

    Attributes:
        centres: `[lists, D]`.
    """

    def __init__(self, index: Any) -> None:
        self.index = index
        self.centres: NDArray[np.float32] = index.quantizer.reconstruct_n(0, index.nlist)

    @classmethod
    def of(cls, vectors: NDArray[np.float32]) -> Clusters:
        """`[n, D]` in clusters, n being at least `FEWEST`. The same vectors always give the same clusters."""
        _Faiss.omp_set_num_threads(1)  # a setting of each thread, and sums depend on it
        dim, lists = vectors.shape[1], len(vectors) // VECTORS_A_LIST
        index = _Faiss.IndexIVFScalarQuantizer(
            _Faiss.IndexFlatL2(dim), dim, lists, _Faiss.ScalarQuantizer.QT_fp16, _Faiss.METRIC_INNER_PRODUCT, False
        )
        # FAISS would put centres on a sphere for inner products. As plain means they lose half as many vectors.
        index.cp.spherical = False
        index.cp.niter, index.cp.max_points_per_centroid = _ROUNDS, _TRAINED_ON
        index.train(vectors)
        index.add(vectors)
        return cls(index)

    def __len__(self) -> int:
        return int(self.index.ntotal)

    def all(self) -> NDArray[np.float32]:
        """`[n, D]` in order of arrival."""
        halves = np.empty((len(self), self.centres.shape[1]), np.float16)
        kept = self.index.invlists
        for number in range(self.index.nlist):
            count = kept.list_size(number)
            if count:
                rows = _Faiss.rev_swig_ptr(kept.get_ids(number), count)
                codes = _Faiss.rev_swig_ptr(kept.get_codes(number), count * kept.code_size)
                halves[rows] = codes.view(np.float16).reshape(count, -1)
        return halves.astype(np.float32)

    def search(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> NearestRows:
        """The k nearest of all, or of the rows that are allowed, with no list left out."""
        selector = None if allowed is None else select_rows(allowed)
        parameters = _Faiss.SearchParametersIVF(nprobe=self.index.nlist, sel=selector)
        return NearestRows(*self.index.search(queries, k, params=parameters))

    def look(self, queries: NDArray[np.float32], k: int, lists: NDArray[np.int64]) -> NearestRows:
        """The k nearest in some lists of each query's own, `[queries, n]`, −1 for none."""
        if not lists.shape[1]:
            return NearestRows(np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64))
        self.index.nprobe = lists.shape[1]
        return NearestRows(*self.index.search_preassigned(queries, k, lists, np.zeros(lists.shape, np.float32)))


def find_nearest_lists(queries: NDArray[np.float32], k: int, days: Sequence[Clusters]) -> list[NDArray[np.int64]]:
    """Which lists of each day to look at for k vectors, `[queries, n]`, −1 for none: the nearest over all days.

    A day that has nothing like the query costs no more than a look at its centres, so many days are not many times the
    work of one.
    """
    near = [queries @ day.centres.T for day in days]
    together = np.concatenate(near, 1)
    most = min(LISTS_A_DAY * len(days), max(LISTS_A_DAY, LISTS_A_VECTOR * k), together.shape[1])
    worth = np.partition(together, -most, axis=1)[:, -most, None]
    return [_pack_rows(products >= worth) for products in near]


def _pack_rows(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The chosen columns of each row, rising, then −1: `[[0, 1, 1], [1, 0, 0]]` → `[[1, 2], [0, −1]]`."""
    counts = chosen.sum(1)
    columns = np.full((len(chosen), int(counts.max(initial=0))), -1)
    columns[np.arange(columns.shape[1]) < counts[:, None]] = chosen.nonzero()[1]
    return columns
