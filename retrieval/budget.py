"""What of a ranking is recalled: the best that fit, or a whole span."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .blockrows import BlockRows
from .retrievers.retriever import Hit


def within_budget(hits: Sequence[Hit], blocks: int, tokens: int) -> list[Hit]:
    """The best hits that fit the budget."""
    chosen: list[Hit] = []
    for hit in hits[:blocks]:
        tokens -= hit.info.tokens
        if tokens < 0:
            break
        chosen.append(hit)
    return chosen


def over_span(hits: Sequence[Hit], infos: BlockRows, blocks: int) -> list[Hit]:
    """All blocks of a span, or where there are more than so many, the better half and the rest evenly over the span.

    Args:
        hits: as a retriever ranks them.
        infos: every block of the span that may be recalled, in order of arrival.
    """
    best = list(hits[: blocks if len(infos) <= blocks else (blocks + 1) // 2])
    taken = {hit.info.block_id for hit in best}
    scores = {hit.info.block_id: hit.score for hit in hits}
    rest = infos.without(taken)
    places = np.linspace(0, len(rest) - 1, min(len(rest), blocks - len(best))).round().astype(int).tolist()
    spread = [rest[i] for i in places]
    return best + [Hit(info, scores.get(info.block_id, 0.0)) for info in spread]
