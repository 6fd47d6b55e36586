"""`Flat`: vectors in order of arrival. A search looks at all of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

_Faiss: Any = faiss  # its own type hints know only the C++ signatures
_Faiss.omp_set_num_threads(1)


class NearestRows(NamedTuple):
    """What a search found: `[queries, k]` inner products, best first, and rows (−1 where there are fewer)."""

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]


class Flat:
    """Vectors in 16 bits, as they are in signatures, so nothing is lost.

    Args:
        index: of FAISS, with what is in it already; it may lie in a file.
    """

    def __init__(self, dim: int, index: Any = None) -> None:
        self.index = index
        if index is None:
            self.index = _Faiss.IndexScalarQuantizer(dim, _Faiss.ScalarQuantizer.QT_fp16, _Faiss.METRIC_INNER_PRODUCT)

    def __len__(self) -> int:
        return int(self.index.ntotal)

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Takes `[n, D]` in."""
        self.index.add(np.ascontiguousarray(vectors))

    def all(self) -> NDArray[np.float32]:
        """`[n, D]` in order of arrival."""
        vectors: NDArray[np.float32] = self.index.reconstruct_n(0, len(self))
        return vectors

    def search(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> NearestRows:
        """The k nearest of all, or of the rows that are allowed."""
        parameters = None
        if allowed is not None:
            parameters = _Faiss.SearchParameters(sel=select_rows(allowed))
        return NearestRows(*self.index.search(queries, k, params=parameters))


def select_rows(allowed: NDArray[np.bool_]) -> Any:
    """FAISS's way to say which rows may be found."""
    return _Faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
