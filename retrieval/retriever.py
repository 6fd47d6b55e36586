"""`Retriever`: a question's queries in, the blocks to recall out, best first.

heads    attention mass of the retrieval heads: FAISS names candidates, their own keys decide
rekv     mean key · mean query over all layers and heads (ReKV's score, arXiv 2503.00540, as one ranking)
recent   the newest blocks
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..memory.block import BlockInfo, Geometry
from ..memory.errors import BlockNotFound, CorruptBlock
from .heads import RetrievalHeads, attention_mass
from .index import SignatureIndex
from .settings import RetrievalConfig
from .signature import SignatureLayout
from .timespan import Span

_FOUND_A_CANDIDATE = 4  # sub-vectors of each token and head
ReadKeys = Callable[[int], Tensor]


class Hit(NamedTuple):
    """A block and its share of the score among those that were looked at, 0 to 1."""

    info: BlockInfo
    score: float


class Retriever(Protocol):
    """Chooses the blocks of one stream. Belongs to one thread."""

    index: SignatureIndex
    last_layer: int | None  # how far a question must run through the model; None is all the way

    def parts(self, signature: Tensor) -> list[Tensor]:
        """What of a signature the index needs."""

    def rank(self, queries: dict[int, Tensor], span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """Blocks for a question, best first.

        Args:
            queries: every layer's `[Hq, Tq, D]`, float32, before rotary, as far as `last_layer`.
            span: only blocks that it touches; None is all time.
            exclude: ids that stand in the context anyway.
        """


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

    def rank(self, queries: dict[int, Tensor], span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """See `Retriever.rank`. Where the span holds few blocks, all of them are candidates."""
        asked = self._heads.queries(queries)
        if self.index.count(span) <= self._config.candidates + len(exclude):
            candidates = [info for info in self.index.infos(span) if info.block_id not in exclude]
        else:
            candidates = self._candidates(asked, span, exclude)
        candidates, keys = self._readable(candidates)
        if not candidates:
            return []
        mass = attention_mass(asked.cpu(), keys)
        order = mass.argsort(descending=True, stable=True).tolist()
        return [Hit(candidates[i], float(mass[i])) for i in order]

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
        """The blocks with the most attention mass as far as their sub-vectors tell.

        A token's best few hundred sub-vectors stand for all: attention to keys of a long past is that peaked.
        """
        wide = _FOUND_A_CANDIDATE * self._config.candidates + len(exclude)
        scaled = asked * asked.shape[-1] ** -0.5
        found = self.index.search_parts(dict(enumerate(scaled)), wide, span).values()
        shares = [torch.from_numpy(part.scores).softmax(-1).numpy() for part in found]
        ids, owner = np.unique(np.concatenate([part.block_ids.ravel() for part in found]), return_inverse=True)
        mass = np.bincount(owner, np.concatenate([some.ravel() for some in shares]), len(ids))
        fair = (ids >= 0) & ~np.isin(ids, list(exclude))
        ids, mass = ids[fair], mass[fair]
        best = np.lexsort((ids, -mass))[: self._config.candidates]
        return self.index.by_id(ids[best].tolist())


class RekvRetriever:
    """Ranks by mean key · mean query, query heads summed per KV head."""

    last_layer: int | None = None

    def __init__(self, config: RetrievalConfig, layout: SignatureLayout, geometry: Geometry) -> None:
        self._config, self._layout, self._geometry = config, layout, geometry
        self.index = SignatureIndex([(1, geometry.layers * geometry.kv_heads * geometry.head_dim)])

    def parts(self, signature: Tensor) -> list[Tensor]:
        """The mean keys, as one vector."""
        return [self._layout.mean_keys(signature)[None]]

    def rank(self, queries: dict[int, Tensor], span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """See `Retriever.rank`."""
        kv_heads, dim = self._geometry.kv_heads, self._geometry.head_dim
        means = torch.stack([queries[layer].mean(1) for layer in range(self._geometry.layers)])
        asked = means.view(self._geometry.layers, kv_heads, -1, dim).sum(2).flatten()[None]
        found = self.index.search(0, asked, self._config.recall_blocks + len(exclude), span)
        pairs = zip(found.scores[0].tolist(), found.block_ids[0].tolist(), strict=True)
        ranked = sorted(((s, i) for s, i in pairs if i >= 0 and i not in exclude), reverse=True)
        shares = torch.tensor([score for score, _ in ranked]).softmax(0).tolist()
        infos = self.index.by_id([block_id for _, block_id in ranked])
        return [Hit(info, share) for info, share in zip(infos, shares, strict=True)]


class RecentRetriever:
    """Takes the newest blocks; the question is not looked at."""

    last_layer: int | None = -1

    def __init__(self, config: RetrievalConfig) -> None:
        self._config = config
        self.index = SignatureIndex([])

    def parts(self, signature: Tensor) -> list[Tensor]:
        """Nothing: times are enough."""
        return []

    def rank(self, queries: dict[int, Tensor], span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """See `Retriever.rank`."""
        count = self._config.recall_blocks + len(exclude)
        newest = self.index.newest(count) if span is None else self.index.infos(span)
        fair = [info for info in reversed(newest) if info.block_id not in exclude][: self._config.recall_blocks]
        return [Hit(info, 1 / len(fair)) for info in fair]


def make_retriever(
    config: RetrievalConfig, layout: SignatureLayout, geometry: Geometry, read_keys: ReadKeys
) -> Retriever:
    """The retriever that the configuration names; `heads` needs a calibrated model, else it is `rekv`."""
    if config.retriever == "recent":
        return RecentRetriever(config)
    if config.retriever == "heads" and layout.heads is not None:
        return HeadsRetriever(config, layout, geometry.head_dim, read_keys)
    return RekvRetriever(config, layout, geometry)


def within_budget(hits: Sequence[Hit], blocks: int, tokens: int) -> list[Hit]:
    """The best hits that fit the budget."""
    chosen: list[Hit] = []
    for hit in hits[:blocks]:
        tokens -= hit.info.tokens
        if tokens < 0:
            break
        chosen.append(hit)
    return chosen


def over_span(hits: Sequence[Hit], infos: Sequence[BlockInfo], blocks: int) -> list[Hit]:
    """All blocks of a span, or where there are more than so many, the better half and the rest evenly over the span.

    Args:
        hits: as a retriever ranks them.
        infos: every block of the span that may be recalled, in order of arrival.
    """
    best = list(hits[: blocks if len(infos) <= blocks else (blocks + 1) // 2])
    taken = {hit.info.block_id for hit in best}
    scores = {hit.info.block_id: hit.score for hit in hits}
    rest = [info for info in infos if info.block_id not in taken]
    places = np.linspace(0, len(rest) - 1, min(len(rest), blocks - len(best))).round().astype(int).tolist()
    return best + [Hit(rest[i], scores.get(rest[i].block_id, 0.0)) for i in places]
