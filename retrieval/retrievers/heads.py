"""`HeadsRetriever`: attention of the retrieval heads. FAISS names candidates, their own keys decide."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import accumulate, pairwise, zip_longest

import numpy as np
import torch
from torch import Tensor

from ...memory.block import BlockInfo
from ...memory.errors import BlockNotFound, CorruptBlock
from ..heads import RetrievalHeads, attention_score
from ..index.index import Found, SignatureIndex
from ..settings import RetrievalConfig
from ..signature import SignatureLayout
from ..steps import Pace, Steps, finished
from ..time.span import Span
from .retriever import Hit, Query, ReadKeys

_FOUND_A_CANDIDATE = 3  # sub-vectors of each token and head
_TOKENS_SET_APART = 8
_TOKENS_RANKED = 128  # of a question that has more
_TOKENS_SCORED = 64  # against the candidates' keys, in one step
# Tokens searched for in one step: fewer in a large index, as each looks at every block of an open day.
_MOST_SEARCHED, _FEWEST_SEARCHED, _SEARCHED_TIMES_BLOCKS = 32, 8, 250_000


class HeadsRetriever:
    """Ranks blocks by how they draw the heads' attention. `read_keys` gives a block's `[R, T, D]`, float32."""

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

        What a blank question would find as well says nothing about this one, so its score is taken off (arXiv
        2410.02642): the same frames draw attention whatever is asked.
        """
        return finished(self.rank_in_steps(query, span, exclude))

    def rank_in_steps(self, query: Query, span: Span | None, exclude: Collection[int]) -> Steps[list[Hit]]:
        """As `rank`. What a step costs does not grow with the question, nor with the number of candidates."""
        asked = _spread(self._heads.queries(query.by_layer))
        blank = self._heads.queries(query.blank) if query.blank else None
        found: list[list[Found]] = []
        if self.index.count(span) <= self._config.candidates + len(exclude):
            candidates = [info for info in self.index.infos(span) if info.block_id not in exclude]
        else:
            found = yield from self._search(asked, blank, span, len(exclude))
            yield
            candidates = self.index.by_id(_named(found, exclude)[: self._config.candidates])
            yield
        candidates, keys = yield from self._readable(candidates)
        if not candidates:
            return []
        yield
        known = {info.block_id for info in candidates}.union(exclude)
        beyond = [_beyond(some, known) for some in found[:2]]
        lift = yield from _lift(asked, blank, keys, beyond)
        return _hits(candidates, lift)

    def _readable(self, candidates: list[BlockInfo]) -> Steps[tuple[list[BlockInfo], list[Tensor]]]:
        """The candidates with their keys; one that the memory refuses is found no more."""
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

    def _search(
        self, asked: Tensor, blank: Tensor | None, span: Span | None, excluded: int
    ) -> Steps[list[list[Found]]]:
        """Each head's nearest sub-vectors: to the question, to a blank one, and to what sets the first apart.

        The last name few candidates, so that fewer are sought, for the tokens that are set apart most. In SmolLM2's log
        of 1,000 lines, of 32 candidates, 0.94 of the lines are found (0.96 with as many for every token, 0.88 for the
        mean of all, as without), of 64 0.97 (0.98).
        """
        most = self._config.candidates
        if blank is None:
            return (yield from self._nearest([asked], _FOUND_A_CANDIDATE * most + excluded, span))
        apart = asked - blank.mean(1, keepdim=True)
        farthest = apart.square().sum(-1).topk(min(_TOKENS_SET_APART, apart.shape[1])).indices
        apart = apart.take_along_dim(farthest[..., None], 1)
        found = yield from self._nearest([asked, blank], _FOUND_A_CANDIDATE * most + excluded, span)
        yield
        return found + (yield from self._nearest([apart], (most + 1) // 2 + excluded, span))

    def _nearest(self, questions: Sequence[Tensor], wide: int, span: Span | None) -> Steps[list[list[Found]]]:
        """So many to each token of each question, for each head in turn."""
        scaled = torch.cat(list(questions), 1) * questions[0].shape[-1] ** -0.5
        within = _SEARCHED_TIMES_BLOCKS // max(1, self.index.count(span))
        at_once = min(_MOST_SEARCHED, max(_FEWEST_SEARCHED, within))
        of_pieces: list[list[Found]] = []
        for piece in scaled.split(at_once, 1):
            if of_pieces:
                yield
            of_pieces.append(list(self.index.search_parts(dict(enumerate(piece)), wide, span).values()))
        of_heads = [Found(*map(np.concatenate, zip(*pieces, strict=True))) for pieces in zip(*of_pieces, strict=True)]
        ends = [0, *accumulate(question.shape[1] for question in questions)]
        return [[Found(part.block_ids[a:b], part.scores[a:b]) for part in of_heads] for a, b in pairwise(ends)]


def _spread(asked: Tensor) -> Tensor:
    """A question's queries `[R, T, D]`; of one that is longer than any that is asked in earnest, some of them, evenly.

    A score is a mean over the question's tokens, which so many tell as well as all.
    """
    if asked.shape[1] <= _TOKENS_RANKED:
        return asked
    return asked[:, torch.linspace(0, asked.shape[1] - 1, _TOKENS_RANKED).round().long()]


def _lift(asked: Tensor, blank: Tensor | None, keys: Sequence[Tensor], beyond: Sequence[Tensor]) -> Steps[Tensor]:
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
        lift += attention_score(some, keys, beyond[0][:, piece] if beyond else None) * some.shape[1] / asked.shape[1]
    if blank is not None:
        lift -= attention_score(blank.cpu(), keys, beyond[1] if beyond else None)
    return lift


def _hits(candidates: Sequence[BlockInfo], lift: Tensor) -> list[Hit]:
    """Best first, each with its share of what is above nothing."""
    gained = lift.clamp(min=0)
    shares = gained / gained.sum().clamp(min=torch.finfo(lift.dtype).tiny)
    return [Hit(candidates[i], float(shares[i])) for i in lift.argsort(descending=True, stable=True).tolist()]


def _beyond(found: Sequence[Found], known: Collection[int]) -> Tensor:
    """What of each token's attention goes to blocks that are not candidates, as `attention_score` wants it.

    Without it a token that looks elsewhere would count as much as one that looks here: of the embedded model's proofs
    of a day, 0.92 stand among the first eight, with it 0.97, as among all blocks.
    """
    ids = np.fromiter(known, np.int64, len(known))
    rest = [np.where(np.isin(part.block_ids, ids), -np.inf, part.scores) for part in found]
    return torch.stack([torch.from_numpy(some).logsumexp(-1) for some in rest])


def _named(found: Sequence[Sequence[Found]], exclude: Collection[int]) -> list[int]:
    """Ids of the candidates, by turns seven that draw the question more than a blank one, and one that draws what sets
    it apart.

    The first are ranked by the score, as far as each token's best few hundred sub-vectors tell it: of a million blocks,
    40 at a time nearly alike, 96 of them hold 0.99 of the exact first eight. A block that draws less than all others
    do, whatever is asked, is among the last.
    """
    asked, *others = found
    blank, apart = others or ((), ())
    for_nothing = _scores(blank, 0.5)
    lift = {i: score - for_nothing.get(i, 0.0) for i, score in _scores(asked, 0.5).items()}
    lifted, contrasted = (
        sorted((i for i in scores if i >= 0 and i not in exclude), key=lambda i: (-scores[i], i))
        for scores in (lift, _scores(apart, 1.0))
    )
    turns = zip_longest(*(lifted[n::7] for n in range(7)), contrasted)
    return list(dict.fromkeys(i for turn in turns for i in turn if i is not None))


def _scores(found: Sequence[Found], power: float) -> dict[int, float]:
    """Of each block of which a sub-vector was found, by its id, the mean power of its shares of attention."""
    if not found:
        return {}
    ids = np.unique(np.concatenate([part.block_ids.ravel() for part in found]))
    total, tokens = np.zeros(len(ids)), sum(len(part.scores) for part in found)
    for part in found:  # one head at a time: the table of tokens and blocks would grow with both
        shares = torch.from_numpy(part.scores).softmax(-1).numpy()
        own, owner = np.unique(part.block_ids, return_inverse=True)
        mass = np.zeros((len(shares), len(own)))
        np.add.at(mass, (np.arange(len(shares))[:, None], owner.reshape(shares.shape)), shares)
        total[np.searchsorted(ids, own)] += (mass**power).sum(0)
    return dict(zip(ids.tolist(), (total / tokens).tolist(), strict=True))
