"""`HybridRetriever`: several rankings as one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from ...memory.block import BlockInfo
from ..index.index import SignatureIndex
from ..steps import Steps, finished
from ..time.span import Span
from .retriever import Hit, Query, Retriever, Setup

_K, _DEPTH = 60, 48  # of deeper rankings, what stands low in both comes before the best of one


class HybridRetriever(Retriever):
    """Reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009): a block gets 1/(60 + rank) of each ranking.

    Args:
        rankings: that are merged; they search the same index, each its own parts.
    """

    def __init__(self, index: SignatureIndex, setup: Setup, rankings: Sequence[Retriever]) -> None:
        super().__init__(index, setup)
        self._rankings = rankings
        layers = [each.last_layer for each in rankings]
        self.last_layer = None if None in layers else max(layer for layer in layers if layer is not None)

    def rank(self, query: Query, span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """See `Retriever.rank`."""
        return finished(self.rank_in_steps(query, span, exclude))

    def rank_in_steps(self, query: Query, span: Span | None, exclude: Collection[int]) -> Steps[list[Hit]]:
        """As `rank`: one ranking after the other."""
        infos, scores = dict[int, BlockInfo](), defaultdict[int, float](float)
        for ranking in self._rankings:
            hits = yield from ranking.rank_in_steps(query, span, exclude)
            yield
            for rank, hit in enumerate(hits[:_DEPTH], 1):
                infos[hit.info.block_id] = hit.info
                scores[hit.info.block_id] += 1 / (_K + rank)
        total = sum(scores.values())
        return [Hit(infos[i], scores[i] / total) for i in sorted(scores, key=lambda i: (-scores[i], i))]
