"""`HeadsRetriever`: attention mass of the retrieval heads. FAISS names candidates, their own keys decide."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import accumulate, pairwise, zip_longest

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
        found: list[list[Found]] = []
        if self.index.count(span) <= self._config.candidates + len(exclude):
            candidates = [info for info in self.index.infos(span) if info.block_id not in exclude]
        else:
            found = self._search(asked, blank, span, len(exclude))
            candidates = self._by_turns([_by_mass(some, exclude) for some in found[:2]])
        candidates, keys = self._readable(candidates)
        if not candidates:
            return []
        known = {info.block_id for info in candidates}.union(exclude)
        return _hits(candidates, _lift(asked, blank, keys, [_beyond(some, known) for some in found[:1] + found[-1:]]))

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

    def _search(self, asked: Tensor, blank: Tensor | None, span: Span | None, excluded: int) -> list[list[Found]]:
        """Each head's nearest sub-vectors: to the question, to what sets it apart from a blank one, and to that."""
        questions = [asked] if blank is None else [asked, asked - blank.mean(1, keepdim=True), blank]
        wide = _FOUND_A_CANDIDATE * self._config.candidates + excluded
        scaled = torch.cat(questions, 1) * asked.shape[-1] ** -0.5
        of_heads = list(self.index.search_parts(dict(enumerate(scaled)), wide, span).values())
        ends = [0, *accumulate(question.shape[1] for question in questions)]
        return [[Found(part.block_ids[a:b], part.scores[a:b]) for part in of_heads] for a, b in pairwise(ends)]

    def _by_turns(self, rankings: Sequence[Sequence[int]]) -> list[BlockInfo]:
        """The candidates, of each ranking one: what draws the question, and what draws all that sets it apart.

        Some models' heads need the first (of the embedded model's proofs it names 1.00 among 48, the second 0.56), some
        the second (SmolLM2's in a log of 1,000 lines: 0.26 and 1.00).
        """
        by_turns = dict.fromkeys(i for some in zip_longest(*rankings) for i in some if i is not None)
        return self.index.by_id(list(by_turns)[: self._config.candidates])


def _lift(asked: Tensor, blank: Tensor | None, keys: Sequence[Tensor], beyond: Sequence[Tensor]) -> Tensor:
    """The attention mass of each block, `[blocks]`, less a blank question's.

    Args:
        beyond: of the question the first, of the blank one the last; none where the blocks are all there are.
    """
    lift = attention_mass(asked.cpu(), keys, beyond[0] if beyond else None)
    if blank is not None:
        lift -= attention_mass(blank.cpu(), keys, beyond[-1] if beyond else None)
    return lift


def _hits(candidates: Sequence[BlockInfo], lift: Tensor) -> list[Hit]:
    """Best first, each with its share of what is above nothing."""
    gained = lift.clamp(min=0)
    shares = gained / gained.sum().clamp(min=torch.finfo(lift.dtype).tiny)
    return [Hit(candidates[i], float(shares[i])) for i in lift.argsort(descending=True, stable=True).tolist()]


def _beyond(found: Sequence[Found], known: Collection[int]) -> Tensor:
    """What of each token's attention goes to blocks that are not candidates, as `attention_mass` wants it.

    Without it a token that looks elsewhere would count as much as one that looks here: of the embedded model's proofs
    of a day, 0.92 stand among the first eight, with it 0.97, as among all blocks.
    """
    ids = np.fromiter(known, np.int64, len(known))
    rest = [np.where(np.isin(part.block_ids, ids), -np.inf, part.scores) for part in found]
    return torch.stack([torch.from_numpy(some).logsumexp(-1) for some in rest])


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
