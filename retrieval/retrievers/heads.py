"""`HeadsRetriever`: attention mass of the retrieval heads. FAISS names candidates, their own keys decide."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import zip_longest

import numpy as np
import torch
from torch import Tensor

from ...memory.block import BlockInfo
from ...memory.errors import BlockNotFound, CorruptBlock
from ..heads import RetrievalHeads, attention_mass
from ..index import Found, SignatureIndex
from ..retriever import Hit, Query, ReadKeys
from ..settings import RetrievalConfig
from ..signature import SignatureLayout
from ..timespan import Span

_FOUND_A_CANDIDATE = 4  # sub-vectors of each token and head


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
        blank = self._heads.queries(query.blank) if query.blank else None
        if self.index.count(span) <= self._config.candidates + len(exclude):
            candidates = [info for info in self.index.infos(span) if info.block_id not in exclude]
        else:
            candidates = self._candidates(asked, blank, span, exclude)
        candidates, keys = self._readable(candidates)
        if not candidates:
            return []
        lift = attention_mass(asked.cpu(), keys)
        if blank is not None:
            lift -= attention_mass(blank.cpu(), keys)
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

    def _candidates(
        self, asked: Tensor, blank: Tensor | None, span: Span | None, exclude: Collection[int]
    ) -> list[BlockInfo]:
        """By turns the blocks that draw the question, and those that draw what sets it apart from a blank one.

        Some models' heads need the first (of the embedded model's proofs it names 1.00 among 48, the second 0.56), some
        the second (SmolLM2's in a log of 1,000 lines: 0.26 and 1.00).
        """
        queries = [asked] if blank is None else [asked, asked - blank.mean(1, keepdim=True)]
        wide = _FOUND_A_CANDIDATE * self._config.candidates + len(exclude)
        scaled = torch.cat(queries, 1) * asked.shape[-1] ** -0.5
        found = list(self.index.search_parts(dict(enumerate(scaled)), wide, span).values())
        rankings = [
            _by_mass([Found(part.block_ids[rows], part.scores[rows]) for part in found], exclude)
            for rows in (slice(start, start + asked.shape[1]) for start in range(0, scaled.shape[1], asked.shape[1]))
        ]
        by_turns = dict.fromkeys(i for some in zip_longest(*rankings) for i in some if i is not None)
        return self.index.by_id(list(by_turns)[: self._config.candidates])


def _by_mass(found: Sequence[Found], exclude: Collection[int]) -> list[int]:
    """Block ids by their attention mass, as far as each token's best few hundred sub-vectors tell.

    Attention to keys of a long past is that peaked.
    """
    shares = np.concatenate([torch.from_numpy(part.scores).softmax(-1).numpy().ravel() for part in found])
    ids, owner = np.unique(np.concatenate([part.block_ids.ravel() for part in found]), return_inverse=True)
    mass = np.bincount(owner, shares, len(ids))
    fair = (ids >= 0) & ~np.isin(ids, list(exclude))
    ids, mass = ids[fair], mass[fair]
    order: list[int] = ids[np.lexsort((ids, -mass))].tolist()
    return order
