"""`Recall`: which blocks stand before the model's eyes for a question, and how they are brought there."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from torch import Tensor

from ...memory.block import Block, BlockInfo, Places
from ...memory.errors import BlockNotFound, CorruptBlock
from ...memory.tiers import Tiers
from ...retrieval.retrievers.retriever import Hit, Query
from ...retrieval.steps import Pace, Steps, finished
from ...retrieval.time.span import Span
from ..log import get_logger
from ..model.prompt import BLANK
from ..model.queries import compute_queries_in_steps
from ..model.video_lm import VideoLM
from ..stream.stream import Stream
from .layerwise import ContextPart, LayerwiseRecall
from .plan import RecallPlan

_log = get_logger("recall")


class ContextBlock(NamedTuple):
    """A block in the context, with its keys and values `[L, H, T, D]`.

    Attributes:
        origin: `recalled` or `window`, as in `Evidence`.
        tier: where it came from: `ram`, `disk` or `window`.
    """

    info: BlockInfo
    origin: str
    tier: str
    keys: Tensor
    values: Tensor
    places: Places | None

    @classmethod
    def recalled(cls, block: Block, tier: str) -> ContextBlock:
        """One that came from the memory."""
        return cls(block.info, "recalled", tier, block.keys, block.values, block.places)


class Recall:
    """One question's recall from one stream; belongs to the engine's thread.

    Raises:
        StorageError: (its methods) the memory cannot be read.
    """

    def __init__(self, stream: Stream, model: VideoLM, tiers: Tiers) -> None:
        self._stream, self._model, self._tiers = stream, model, tiers

    def rank(self, text: str, span: Span | None, exclude: Collection[int] | None = None) -> Steps[list[Hit]]:
        """Blocks for a question, best first.

        Args:
            exclude: ids that are not wanted; those in the window where it is None.
        """
        exclude = self._window_ids() if exclude is None else exclude
        query = yield from self._query(text)
        return (yield from self._stream.retriever.rank_in_steps(query, span, exclude))

    def _query(self, text: str) -> Steps[Query]:
        """The question, and a blank one, run through the model as far as the retriever wants it."""
        last_layer = self._stream.retriever.last_layer
        if last_layer == -1:
            return Query(text)
        questions = [self._model.prompt.question_ids(words) for words in (text, BLANK)]
        asked, blank = yield from compute_queries_in_steps(self._model, self._stream.window, questions, last_layer)
        return Query(text, asked, blank)

    def fetch(self, infos: list[BlockInfo]) -> Steps[list[ContextBlock]]:
        """Blocks from the memory in time order. A damaged one is left out, and the log says so."""
        found, pace = list[ContextBlock](), Pace()
        for info in infos:
            if pace.over:
                yield
                pace.begin()
            tier = "ram" if self._tiers.in_ram(self._stream.name, info.block_id) else "disk"
            if (block := self._fetch_one(info)) is not None:
                found.append(ContextBlock.recalled(block, tier))
        return sorted(found, key=_time_order)

    def gather(self, plan: RecallPlan, hits: list[Hit]) -> Steps[list[ContextBlock]]:
        """What stands before a question: what of a ranking is recalled, then the window.

        The window moves on while blocks are ranked and fetched, and none may be missing or stand twice:

            when it was planned:   a b c d e [f g h]     b, d recalled; f to h in the window, so not ranked
            now:                   a b c d e f [g h i]   f has left the window, so it is fetched as well

        A block that was recalled and has come into the window since stands there only.
        """
        recalled = yield from self.fetch([hit.info for hit in plan.fit(hits)])
        left = self._stream.retriever.index.by_id(sorted(plan.in_window - self._window_ids()))
        of_then = [info for info in left if plan.time.touches(info)]
        window = self._window_ids()
        recalled = [block for block in recalled if block.info.block_id not in window] + finished(self.fetch(of_then))
        recalled.sort(key=_time_order)
        return recalled + self.recent(plan, anything_recalled=bool(recalled))

    def recent(self, plan: RecallPlan, *, anything_recalled: bool) -> list[ContextBlock]:
        """The window's blocks that bear on the question: all of them, or where it names a time, those of that time.

        Where the memory holds nothing of that time either, the window stands for what there is. The tensors are views:
        valid until the window's next append.
        """
        window = self._stream.window
        known = self._stream.retriever.index.by_id([block.block_id for block in window.blocks])
        infos = {info.block_id: info for info in known}
        everything = [
            ContextBlock(infos[part.block_id], "window", "window", part.keys, part.values, part.places)
            for part in window.parts()
            if part.block_id in infos
        ]
        of_then = [block for block in everything if plan.time.touches(block.info)]
        return of_then if of_then or anything_recalled else everything

    def by_layer(self, plan: RecallPlan) -> LayerwiseRecall:
        """As `rank` and `gather`, for each layer when its turn comes."""
        rank_layer = self._stream.retriever.rank_layer
        assert rank_layer is not None, "only where each layer recalls blocks of its own"
        span, in_window = plan.time.span, plan.in_window

        def rank(layer: int, queries: Tensor) -> list[Hit]:
            return plan.fit(rank_layer(layer, queries, span, in_window))

        recent = self.recent(plan, anything_recalled=bool(plan.outside))
        # Copies: the question goes through the model in many steps, and the window's own are moved meanwhile.
        parts = [ContextPart(block.keys.clone(), block.values.clone(), block.places) for block in recent]
        return LayerwiseRecall(self._model, ContextPart(*self._stream.window.sink), parts, rank, self._fetch_one)

    def _window_ids(self) -> frozenset[int]:
        return frozenset(block.block_id for block in self._stream.window.blocks)

    def _fetch_one(self, info: BlockInfo) -> Block | None:
        try:
            return self._tiers.fetch(self._stream.name, [info.block_id])[0]
        except (CorruptBlock, BlockNotFound) as exc:  # or forgotten since it was ranked
            _log.warning("block left out", stream=self._stream.name, error=str(exc))
            return None


def _time_order(block: ContextBlock) -> tuple[int, int]:
    return block.info.start_ns, block.info.block_id
