"""`RekvRetriever`: ReKV's ranking, one for every layer (arXiv 2503.00540; github Becomebright/ReKV)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from torch import Tensor

from ...memory.block import BlockInfo, Geometry
from ..index.index import SignatureIndex
from ..settings import RetrievalConfig
from ..signature import SignatureLayout
from ..time.span import Span
from .retriever import Hit, Query, best_hits


class RekvRetriever:
    """Ranks in each layer by mean key · mean query, heads side by side, a raw dot product.

    What a layer's queries are depends on what the layers before it recalled, so the daemon asks `rank_layer` as the
    question runs through the model. Query heads are summed per KV head, which gives the ranking of the heads apart.
    """

    last_layer: int | None = None

    def __init__(self, config: RetrievalConfig, layout: SignatureLayout, geometry: Geometry) -> None:
        self._config, self._layout, self._geometry = config, layout, geometry
        self.index = SignatureIndex([(1, geometry.kv_heads * geometry.head_dim)] * geometry.layers)

    def parts(self, signature: Tensor) -> list[Tensor]:
        """Each layer's mean key."""
        return [of_layer.flatten()[None] for of_layer in self._layout.mean_keys(signature, self._geometry)]

    def rank_layer(self, layer: int, queries: Tensor, span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """Blocks for one layer, best first; as `Retriever.rank`, but with that layer's queries `[Hq, T, D]`."""
        asked = queries.mean(1).view(self._geometry.kv_heads, -1, self._geometry.head_dim).sum(1).flatten()[None]
        wide = self._config.recall_blocks + len(exclude)
        return best_hits(self.index, self.index.search(layer, asked, wide, span), exclude)

    def rank(self, query: Query, span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """See `Retriever.rank`: the layers' rankings as one, for queries that are known already."""
        depth = self._config.recall_blocks
        return by_layers(
            self.rank_layer(layer, query.by_layer[layer], span, exclude)[:depth]
            for layer in range(self._geometry.layers)
        )


def by_layers(rankings: Iterable[Collection[Hit]]) -> list[Hit]:
    """The blocks of every layer's ranking by the share of the layers in which they stand, then by their scores."""
    layers, infos = 0, dict[int, BlockInfo]()
    times, scores = defaultdict[int, int](int), defaultdict[int, float](float)
    for ranking in rankings:
        layers += 1
        for hit in ranking:
            infos[hit.info.block_id] = hit.info
            times[hit.info.block_id] += 1
            scores[hit.info.block_id] += hit.score
    order = sorted(infos, key=lambda i: (-times[i], -scores[i], i))
    return [Hit(infos[i], times[i] / layers) for i in order]
