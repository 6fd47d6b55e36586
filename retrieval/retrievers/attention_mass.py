"""`HeadsRetriever`: ranks by the attention of the retrieval heads. The index names candidates, their keys decide."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from ...memory.block import BlockInfo
from ...memory.errors import BlockNotFound, CorruptBlock
from ..heads import score_attention
from ..index.index import SignatureIndex
from ..signature import SignaturePart
from ..steps import Pace, Steps, finished
from ..time.span import Span
from .candidates import CandidateSearch, choose_candidates, sum_beyond
from .retriever import Hit, Query, Retriever, Setup

_TOKENS_RANKED = 128  # of a question that has more
_TOKENS_SCORED = 64  # against the candidates' keys, in one step


class HeadsRetriever(Retriever):
    """Ranks blocks by how much more they draw the heads' attention for this question than for a blank one.

    Some frames draw attention whatever is asked. So the score for a blank question is subtracted (arXiv 2410.02642).
    """

    def __init__(self, index: SignatureIndex, setup: Setup) -> None:
        super().__init__(index, setup)
        assert setup.layout.heads is not None, "attention mass needs retrieval heads"
        self._heads, self._read_keys = setup.layout.heads, setup.read_keys
        self._search = CandidateSearch(index, self.parts(setup), setup.config.candidates)
        self.last_layer = self._heads.last_layer

    @staticmethod
    def parts(setup: Setup) -> list[SignaturePart]:
        """Each head's sub-vectors."""
        return setup.layout.head_parts(setup.geometry)

    def rank(self, query: Query, span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """See `Retriever.rank`. Where the span holds few blocks, all of them are candidates."""
        return finished(self.rank_in_steps(query, span, exclude))

    def rank_in_steps(self, query: Query, span: Span | None, exclude: Collection[int]) -> Steps[list[Hit]]:
        """As `rank`. What a step costs does not grow with the question, nor with the number of candidates."""
        asked = _thin_out(self._heads.queries(query.by_layer))
        blank = self._heads.queries(query.blank) if query.blank else None
        near = None
        if self.index.count(span) <= self._config.candidates + len(exclude):
            candidates = [info for info in self.index.infos(span) if info.block_id not in exclude]
        else:
            near = yield from self._search.find(asked, blank, span, len(exclude))
            yield
            candidates = self.index.by_id(choose_candidates(near, exclude)[: self._config.candidates])
            yield
        candidates, keys = yield from self._readable(candidates)
        if not candidates:
            return []
        yield
        known = {info.block_id for info in candidates}.union(exclude)
        others = [] if near is None else [sum_beyond(some, known) for some in (near.asked, near.blank) if some]
        lift = yield from _score_above_blank(asked, blank, keys, others)
        return _make_hits(candidates, lift)

    def _readable(self, candidates: list[BlockInfo]) -> Steps[tuple[list[BlockInfo], list[Tensor]]]:
        """The candidates with their keys; one that the memory refuses is taken out of the index."""
        found: list[tuple[BlockInfo, Tensor]] = []
        refused, pace = [], Pace()
        for info in candidates:
            if pace.over:
                yield
                pace.begin()
            try:
                found.append((info, self._read_keys(info.block_id)))
            except (CorruptBlock, BlockNotFound):
                refused.append(info.block_id)
        if refused:
            self.index.forget(refused)
        return [info for info, _ in found], [keys for _, keys in found]


def _thin_out(asked: Tensor) -> Tensor:
    """A question's queries `[R, T, D]`; of a very long question, some of them, evenly.

    A score is a mean over the question's tokens, and that of 128 tokens is as good as that of all.
    """
    if asked.shape[1] <= _TOKENS_RANKED:
        return asked
    return asked[:, torch.linspace(0, asked.shape[1] - 1, _TOKENS_RANKED).round().long()]


def _score_above_blank(
    asked: Tensor, blank: Tensor | None, keys: Sequence[Tensor], beyond: Sequence[Tensor]
) -> Steps[Tensor]:
    """The attention score of each block, `[blocks]`, less a blank question's.

    Args:
        beyond: of the question, and of the blank one; none where the blocks are all there are.
    """
    lift = torch.zeros(len(keys))
    for start in range(0, asked.shape[1], _TOKENS_SCORED):
        if start:
            yield
        piece = slice(start, start + _TOKENS_SCORED)
        some = asked[:, piece].cpu()
        lift += score_attention(some, keys, beyond[0][:, piece] if beyond else None) * some.shape[1] / asked.shape[1]
    if blank is not None:
        lift -= score_attention(blank.cpu(), keys, beyond[1] if beyond else None)
    return lift


def _make_hits(candidates: Sequence[BlockInfo], lift: Tensor) -> list[Hit]:
    """Best first, each with its share of all that is gained over a blank question."""
    gained = lift.clamp(min=0)
    shares = gained / gained.sum().clamp(min=torch.finfo(lift.dtype).tiny)
    return [Hit(candidates[i], float(shares[i])) for i in lift.argsort(descending=True, stable=True).tolist()]
