"""`CandidateSearch`: which blocks are worth their exact score, by the sub-vectors nearest to a question's tokens.

Reading the keys of a million blocks for every question would take too long. The index knows S keys of each block
(sub-vectors), and finds for each head and token of the question the few hundred that draw the most attention.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import accumulate, pairwise, zip_longest
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..index.index import SignatureIndex
from ..index.search import SearchResult
from ..signature import SignaturePart
from ..steps import Steps
from ..time.span import Span

_FOUND_A_CANDIDATE = 3  # sub-vectors of each token and head
_TOKENS_SET_APART = 8
# Tokens searched for in one step: fewer in a large index, as each looks at every block of an open day.
_MOST_SEARCHED, _FEWEST_SEARCHED, _SEARCHED_TIMES_BLOCKS = 32, 8, 250_000


class Neighbours(NamedTuple):
    """The sub-vectors nearest to some queries; a result for each head, whose rows are the queries.

    Attributes:
        asked: to the question's tokens.
        blank: to those of a blank question; empty where there is none.
        apart: to what sets the question's tokens apart from the blank ones; empty where there is no blank question.
    """

    asked: list[SearchResult]
    blank: list[SearchResult]
    apart: list[SearchResult]


class CandidateSearch:
    """Searches an index for the blocks that draw a question's attention, roughly.

    Args:
        parts: each head's sub-vectors.
        count: how many candidates are wanted.
    """

    def __init__(self, index: SignatureIndex, parts: Sequence[SignaturePart], count: int) -> None:
        self._index, self._parts, self._count = index, parts, count

    def find(self, asked: Tensor, blank: Tensor | None, span: Span | None, excluded: int) -> Steps[Neighbours]:
        """The nearest sub-vectors to the heads' queries `[R, Tq, D]` of a question and of a blank one.

        What sets the question apart names few candidates, so fewer are sought for it, for the tokens that are set apart
        most. In SmolLM2's log of 1,000 lines, 0.94 of the lines are found among 32 candidates (0.96 with as many for
        every token, 0.88 for the mean of all, and as much without), and 0.97 among 64 (0.98).

        Args:
            excluded: so many of the blocks found may be of no use.
        """
        wide = _FOUND_A_CANDIDATE * self._count + excluded
        if blank is None:
            (only,) = yield from self._search([asked], wide, span)
            return Neighbours(only, [], [])
        apart = asked - blank.mean(1, keepdim=True)
        farthest = apart.square().sum(-1).topk(min(_TOKENS_SET_APART, apart.shape[1])).indices
        apart = apart.take_along_dim(farthest[..., None], 1)
        of_asked, of_blank = yield from self._search([asked, blank], wide, span)
        yield
        (of_apart,) = yield from self._search([apart], (self._count + 1) // 2 + excluded, span)
        return Neighbours(of_asked, of_blank, of_apart)

    def _search(self, questions: Sequence[Tensor], wide: int, span: Span | None) -> Steps[list[list[SearchResult]]]:
        """So many to each token of each question, for each head in turn."""
        scaled = torch.cat(list(questions), 1) * questions[0].shape[-1] ** -0.5
        within = _SEARCHED_TIMES_BLOCKS // max(1, self._index.count(span))
        at_once = min(_MOST_SEARCHED, max(_FEWEST_SEARCHED, within))
        of_pieces: list[list[SearchResult]] = []
        for piece in scaled.split(at_once, 1):
            if of_pieces:
                yield
            found = self._index.search_parts(dict(zip(self._parts, piece, strict=True)), wide, span)
            of_pieces.append(list(found.values()))
        of_heads = [
            SearchResult(*map(np.concatenate, zip(*pieces, strict=True))) for pieces in zip(*of_pieces, strict=True)
        ]
        ends = [0, *accumulate(question.shape[1] for question in questions)]
        return [[SearchResult(part.block_ids[a:b], part.scores[a:b]) for part in of_heads] for a, b in pairwise(ends)]


def choose_candidates(near: Neighbours, exclude: Collection[int]) -> list[int]:
    """Ids of the candidates, most promising first.

    Two rankings take turns: seven blocks that draw the question more than they draw a blank one, then one that draws
    what sets it apart.

        ids = L1 L2 L3 L4 L5 L6 L7 A1  L8 L9 …

    The first ranking is the exact score, as far as each token's best few hundred sub-vectors tell it: of a million
    blocks, 40 at a time nearly alike, 96 of its candidates hold 0.99 of the exact first eight. It puts a block that
    draws less than all others, whatever is asked, among the last, and the second ranking finds such a block.
    """
    for_nothing = _score_roughly(near.blank, 0.5)
    lift = {i: score - for_nothing.get(i, 0.0) for i, score in _score_roughly(near.asked, 0.5).items()}
    lifted, contrasted = (
        sorted((i for i in scores if i >= 0 and i not in exclude), key=lambda i: (-scores[i], i))
        for scores in (lift, _score_roughly(near.apart, 1.0))
    )
    turns = zip_longest(*(lifted[n::7] for n in range(7)), contrasted)
    return list(dict.fromkeys(i for turn in turns for i in turn if i is not None))


def sum_beyond(found: Sequence[SearchResult], known: Collection[int]) -> Tensor:
    """What of each token's attention goes to blocks that are not candidates, `[R, Tq]`; see `score_attention`.

    The candidates' shares are a softmax over all blocks, of which only the candidates' keys are read:

        token's scores:   | candidates: from their own keys | not candidates: found by the index | all the rest |
        in the softmax:     exact                             these sub-vectors' inner products    taken as nothing

    The index has found the largest scores of the others, and the rest would hardly add to their sum. Without it a token
    that looks at other blocks would count for the candidates as much as one that looks at them: among the first eight
    stand 0.92 of the embedded model's proofs of a day, with it 0.97, as many as among all blocks.

    Args:
        known: ids whose keys count elsewhere, or not at all.
    """
    ids = np.fromiter(known, np.int64, len(known))
    rest = [np.where(np.isin(part.block_ids, ids), -np.inf, part.scores) for part in found]
    return torch.stack([torch.from_numpy(some).logsumexp(-1) for some in rest])


def _score_roughly(found: Sequence[SearchResult], power: float) -> dict[int, float]:
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
