"""`RecallPlan`: what is settled about a question before its blocks are ranked, and what of a ranking is recalled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...memory.block import BlockInfo
from ...memory.window import Window
from ...retrieval.blockrows import BlockRows
from ...retrieval.index.index import SignatureIndex
from ...retrieval.retrievers.retriever import Hit
from ...retrieval.settings import RetrievalConfig
from .question_time import QuestionTime
from .wholespan import asks_for_all, split_span


class RecallPlan(NamedTuple):
    """Made once and handed on: blocks that come while the question is ranked do not change its answer.

    Attributes:
        in_window: ids of the blocks in the window, which are not ranked.
        video: whether the stream has video of the time that is named; true where none is.
        outside: the blocks of that time that are not in the window, in order of arrival; None where no time is named.
        room: how many of them are recalled; 0 where the best of a ranking are, whatever their times.
        parts: of a time that is asked about as a whole and has more blocks than one context can hold: its blocks, part
            by part. Else none.
    """

    time: QuestionTime
    config: RetrievalConfig
    in_window: frozenset[int]
    video: bool = True
    outside: BlockRows | None = None
    room: int = 0
    parts: Sequence[list[BlockInfo]] = ()

    def fit(self, hits: Sequence[Hit]) -> list[Hit]:
        """What of a ranking is recalled: the best that fit, or of a named time blocks from all of it."""
        if self.outside is None or not self.room:
            return take_within_budget(hits, self.config.recall_blocks, self.config.recall_tokens)
        return spread_over_span(hits, self.outside, self.room)


def make_plan(time: QuestionTime, index: SignatureIndex, window: Window, config: RetrievalConfig) -> RecallPlan:
    """Looks up once what a stream's index and window have of the time that is asked about."""
    in_window = frozenset(block.block_id for block in window.blocks)
    if time.span is None:
        return RecallPlan(time, config, in_window)
    infos = index.infos(time.span)
    shown, outside = infos.video(), infos.without(in_window)
    fits = _room(shown, config)
    whole = 0 < fits < len(shown) and asks_for_all(time.question)
    parts = split_span(shown, fits, config.span_passes) if whole else ()
    return RecallPlan(time, config, in_window, len(shown) > 0, outside, _room(outside, config), parts)


def take_within_budget(hits: Sequence[Hit], blocks: int, tokens: int) -> list[Hit]:
    """The best hits that fit the budget."""
    chosen: list[Hit] = []
    for hit in hits[:blocks]:
        tokens -= hit.info.tokens
        if tokens < 0:
            break
        chosen.append(hit)
    return chosen


def spread_over_span(hits: Sequence[Hit], infos: BlockRows, blocks: int) -> list[Hit]:
    """All blocks of a span, or where there are more than so many, half of them the best and half evenly spread.

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


def _room(infos: BlockRows, config: RetrievalConfig) -> int:
    """How many blocks of a named time fit into a context; 0 where it is treated as any other."""
    return min(config.span_blocks, max(1, config.recall_tokens // infos.most_tokens))
