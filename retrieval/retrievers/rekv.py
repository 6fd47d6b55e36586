"""`RekvRetriever`: ReKV's ranking, one for every layer (arXiv 2503.00540; github Becomebright/ReKV)."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor

from ..index.index import SignatureIndex
from ..signature import SignaturePart
from ..time.span import Span
from .retriever import Hit, Query, Retriever, Setup, merge_layers, take_best


class RekvRetriever(Retriever):
    """Ranks in each layer by mean key · mean query, heads side by side, a raw dot product.

    A layer's queries depend on what the layers before it recalled, so the daemon calls `rank_layer` as the question
    runs through the model. Query heads are summed per KV head, which gives the ranking of the heads apart.
    """

    last_layer = None

    def __init__(self, index: SignatureIndex, setup: Setup) -> None:
        super().__init__(index, setup)
        self._parts, self._geometry = self.parts(setup), setup.geometry

    @staticmethod
    def parts(setup: Setup) -> list[SignaturePart]:
        """Each layer's mean key."""
        return setup.layout.layer_parts(setup.geometry)

    def rank_layer(self, layer: int, queries: Tensor, span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """See `Retriever.rank_layer`."""
        asked = queries.mean(1).view(self._geometry.kv_heads, -1, self._geometry.head_dim).sum(1).flatten()[None]
        wide = self._config.recall_blocks + len(exclude)
        return take_best(self.index, self.index.search(self._parts[layer], asked, wide, span), exclude)

    def rank(self, query: Query, span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """See `Retriever.rank`: the layers' rankings as one, for queries that are known already."""
        depth = self._config.recall_blocks
        return merge_layers(
            self.rank_layer(layer, query.by_layer[layer], span, exclude)[:depth]
            for layer in range(self._geometry.layers)
        )
