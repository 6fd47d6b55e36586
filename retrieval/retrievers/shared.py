"""`SharedRetriever`: ReKV's score as one ranking for all layers."""

from __future__ import annotations

from collections.abc import Collection

import torch

from ..index.index import SignatureIndex
from ..signature import SignaturePart
from ..time.span import Span
from .retriever import Hit, Query, Retriever, Setup, take_best


class SharedRetriever(Retriever):
    """Ranks by mean key · mean query over all layers, query heads summed per KV head (arXiv 2503.00540, but once)."""

    last_layer = None

    def __init__(self, index: SignatureIndex, setup: Setup) -> None:
        super().__init__(index, setup)
        (self._part,), self._geometry = self.parts(setup), setup.geometry

    @staticmethod
    def parts(setup: Setup) -> list[SignaturePart]:
        """The mean keys, as one vector."""
        return [setup.layout.mean_part(setup.geometry)]

    def rank(self, query: Query, span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """See `Retriever.rank`."""
        layers, kv_heads, dim = self._geometry
        means = torch.stack([query.by_layer[layer].mean(1) for layer in range(layers)])
        asked = means.view(layers, kv_heads, -1, dim).sum(2).flatten()[None]
        wide = self._config.recall_blocks + len(exclude)
        return take_best(self.index, self.index.search(self._part, asked, wide, span), exclude)
