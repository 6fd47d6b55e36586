"""`SharedRetriever`: ReKV's score as one ranking for all layers."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from ...memory.block import Geometry
from ..index.index import SignatureIndex
from ..settings import RetrievalConfig
from ..signature import SignatureLayout
from ..time.span import Span
from .retriever import Hit, Query, best_hits


class SharedRetriever:
    """Ranks by mean key · mean query over all layers, query heads summed per KV head (arXiv 2503.00540, but once).

    Attributes:
        first_part: where in the index its vectors stand, should it stand in one with another retriever's.
    """

    last_layer: int | None = None

    def __init__(self, config: RetrievalConfig, layout: SignatureLayout, geometry: Geometry) -> None:
        self._config, self._layout, self._geometry = config, layout, geometry
        self.index = SignatureIndex([(1, geometry.layers * geometry.kv_heads * geometry.head_dim)])
        self.first_part = 0

    def parts(self, signature: Tensor) -> list[Tensor]:
        """The mean keys, as one vector."""
        return [self._layout.mean_keys(signature, self._geometry).flatten()[None]]

    def rank(self, query: Query, span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """See `Retriever.rank`."""
        kv_heads, dim = self._geometry.kv_heads, self._geometry.head_dim
        means = torch.stack([query.by_layer[layer].mean(1) for layer in range(self._geometry.layers)])
        asked = means.view(self._geometry.layers, kv_heads, -1, dim).sum(2).flatten()[None]
        wide = self._config.recall_blocks + len(exclude)
        return best_hits(self.index, self.index.search(self.first_part, asked, wide, span), exclude)
