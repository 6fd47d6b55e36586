"""`HeadsRetriever`: attention mass of the retrieval heads. FAISS names candidates, their own keys decide."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

from ...memory.block import BlockInfo
from ...memory.errors import BlockNotFound, CorruptBlock
from ..heads import RetrievalHeads, attention_mass
from ..index import SignatureIndex
from ..retriever import Hit, Query, ReadKeys
from ..settings import RetrievalConfig
from ..signature import SignatureLayout
from ..timespan import Span


class HeadsRetriever:
    """Ranks by the attention mass of the retrieval heads. `read_keys` gives a block's `[R, T, D]`, float32."""

    def __init__(self, config: RetrievalConfig, layout: SignatureLayout, dim: int, read_keys: ReadKeys) -> None:
        assert layout.heads is not None, "attention mass needs retrieval heads"
        self._config, self._layout, self._read_keys = config, layout, read_keys
        self._heads: RetrievalHeads = layout.heads
        self.last_layer: int | None = layout.heads.last_layer
        self.index = SignatureIndex([(layout.sub_vectors, dim)] * len(layout.heads.heads))

    def parts(self, signature: Tensor) -> list[Tensor]:
        """Each head's sub-vectors."""
        return list(self._layout.of_heads(signature))

    def rank(self, query: Query, span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """See `Retriever.rank`. Where the span holds few blocks, all of them are candidates.

        What a blank question would find as well says nothing about this one, so its mass is taken off (arXiv
        2410.02642): the same frames draw attention whatever is asked.
        """
        asked = self._heads.queries(query.by_layer)
        if self.index.count(span) <= self._config.candidates + len(exclude):
            candidates = [info for info in self.index.infos(span) if info.block_id not in exclude]
        else:
            candidates = self._candidates(asked, span, exclude)
        candidates, keys = self._readable(candidates)
        if not candidates:
            return []
        lift = attention_mass(asked.cpu(), keys)
        if query.blank:
            lift -= attention_mass(self._heads.queries(query.blank).cpu(), keys)
        shares = lift.clamp(min=0) / lift.clamp(min=0).sum().clamp(min=torch.finfo(lift.dtype).tiny)
        order = lift.argsort(descending=True, stable=True).tolist()
        return [Hit(candidates[i], float(shares[i])) for i in order]

    def _readable(self, candidates: list[BlockInfo]) -> tuple[list[BlockInfo], list[Tensor]]:
        """The candidates with their keys; one that the memory refuses is found no more."""
        found: list[tuple[BlockInfo, Tensor]] = []
        refused = []
        for info in candidates:
            try:
                found.append((info, self._read_keys(info.block_id)))
            except (CorruptBlock, BlockNotFound):
                refused.append(info.block_id)
        if refused:
            self.index.forget(refused)
        return [info for info, _ in found], [keys for _, keys in found]

    def _candidates(self, asked: Tensor, span: Span | None, exclude: Collection[int]) -> list[BlockInfo]:
        """The blocks with the most attention mass as far as their sub-vectors tell."""
        mass: dict[int, float] = {}
        wide = self._config.candidates + len(exclude)
        for part, of_head in enumerate(asked):
            found = self.index.search(part, of_head * of_head.shape[-1] ** -0.5, wide, span)
            shares = torch.from_numpy(found.scores).softmax(-1).numpy()
            ids, owner = np.unique(found.block_ids, return_inverse=True)
            summed = np.bincount(owner.ravel(), shares.ravel(), len(ids))
            for block_id, share in zip(ids.tolist(), summed.tolist(), strict=True):
                mass[block_id] = mass.get(block_id, 0.0) + share
        ranked = sorted((-share, i) for i, share in mass.items() if i >= 0 and i not in exclude)
        chosen = [block_id for _, block_id in ranked[: self._config.candidates]]
        return self.index.by_id(chosen)
