"""`HybridRetriever`: two rankings as one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from torch import Tensor

from ...memory.block import BlockInfo
from ..index.index import SignatureIndex
from ..steps import Steps, finished
from ..time.span import Span
from .external import ExternalRetriever
from .heads import HeadsRetriever
from .retriever import Hit, Query, Stepwise
from .shared import SharedRetriever

_K, _DEPTH = 60, 48  # of deeper rankings, what stands low in both comes before the best of one


class HybridRetriever:
    """Reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009): a block gets 1/(60 + rank) of each ranking.

    Args:
        first, second: their own indexes are given up for one of both.
    """

    def __init__(self, first: HeadsRetriever | SharedRetriever, second: SharedRetriever | ExternalRetriever) -> None:
        self._first, self._second = first, second
        self.index = SignatureIndex([*first.index.shapes, *second.index.shapes])
        second.first_part = len(first.index.shapes)
        first.index = second.index = self.index
        asked = [layer for layer in (first.last_layer, second.last_layer) if layer != -1]
        self.last_layer: int | None = None if None in asked else max(layer for layer in asked if layer is not None)

    def parts(self, signature: Tensor) -> list[Tensor]:
        """What both need."""
        return [*self._first.parts(signature), *self._second.parts(signature)]

    def rank(self, query: Query, span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """See `Retriever.rank`."""
        return finished(self.rank_in_steps(query, span, exclude))

    def rank_in_steps(self, query: Query, span: Span | None, exclude: Collection[int]) -> Steps[list[Hit]]:
        """As `rank`: one ranking, then the other."""
        infos, scores = dict[int, BlockInfo](), defaultdict[int, float](float)
        for retriever in (self._first, self._second):
            if isinstance(retriever, Stepwise):
                hits = yield from retriever.rank_in_steps(query, span, exclude)
            else:
                hits = retriever.rank(query, span, exclude)
            yield
            for rank, hit in enumerate(hits[:_DEPTH], 1):
                infos[hit.info.block_id] = hit.info
                scores[hit.info.block_id] += 1 / (_K + rank)
        total = sum(scores.values())
        return [Hit(infos[i], scores[i] / total) for i in sorted(scores, key=lambda i: (-scores[i], i))]
