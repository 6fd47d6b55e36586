"""`Recall`: which blocks stand before the model's eyes for a question, and how they are brought there."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ...memory.block import Block, BlockInfo, Places
from ...memory.errors import BlockNotFound, CorruptBlock
from ...memory.tiers import Tiers
from ...retrieval.blockrows import BlockRows
from ...retrieval.budget import over_span, within_budget
from ...retrieval.retrievers.rekv import RekvRetriever
from ...retrieval.retrievers.retriever import Hit, Query, Stepwise
from ...retrieval.settings import RetrievalConfig
from ...retrieval.steps import Pace, Steps, finished
from ...retrieval.time.span import Span
from ..log import get_logger
from ..model.context import Context
from ..model.prompt import BLANK
from ..model.queries import compute_queries_in_steps
from ..model.video_lm import VideoLM
from ..stream.stream import Stream
from .layerwise import LayerwiseRecall, Part

_log = get_logger("recall")


class Seen(NamedTuple):
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


class Recall:
    """One question's recall from one stream; belongs to the engine's thread.

    Raises:
        StorageError: (its methods) the memory cannot be read.
    """

    def __init__(self, stream: Stream, model: VideoLM, tiers: Tiers, config: RetrievalConfig) -> None:
        self._stream, self._model, self._tiers, self._config = stream, model, tiers, config
        self.in_window = frozenset[int]()  # when the last ranking began, which leaves them out

    def rank(self, text: str, span: Span | None) -> Steps[list[Hit]]:
        """Blocks outside the window for a question, best first."""
        self.in_window = self._window_ids()
        query = yield from self._query(text)
        retriever = self._stream.retriever
        if isinstance(retriever, Stepwise):
            return (yield from retriever.rank_in_steps(query, span, self.in_window))
        return retriever.rank(query, span, self.in_window)

    def _query(self, text: str) -> Steps[Query]:
        """The question run through the model as far as the retriever wants it, and a blank one beside it."""
        last_layer = self._stream.retriever.last_layer
        if last_layer == -1:
            return Query(text)
        questions = [self._model.prompt.question_ids(words) for words in (text, BLANK)]
        asked, blank = yield from compute_queries_in_steps(self._model, self._stream.window, questions, last_layer)
        return Query(text, asked, blank)

    def blocks(self, span: Span) -> BlockRows:
        """Every block that shows something of a time, in order of arrival, those in the window too."""
        return self._stream.retriever.index.infos(span).video()

    def fitting(self, hits: list[Hit], span: Span | None) -> list[Hit]:
        """What of a ranking is recalled: the best, and of a named time blocks from all of it."""
        config = self._config
        if span is None or not config.span_blocks:
            return within_budget(hits, config.recall_blocks, config.recall_tokens)
        infos = self._stream.retriever.index.infos(span).without(self.in_window)
        return over_span(hits, infos, self.room(infos))

    def room(self, infos: BlockRows) -> int:
        """How many blocks of a named time fit; 0 where it is treated as any other."""
        return min(self._config.span_blocks, max(1, self._config.recall_tokens // infos.most_tokens))

    def fetch(self, infos: list[BlockInfo]) -> Steps[list[Seen]]:
        """Blocks from the memory in time order; a damaged one is left out and said so."""
        found, pace = list[Seen](), Pace()
        for info in infos:
            if pace.over:
                yield
                pace.begin()
            if (seen := self._one(info)) is not None:
                found.append(seen)
        return sorted(found, key=_in_time)

    def gather(self, hits: list[Hit], span: Span | None) -> Steps[list[Seen]]:
        """What stands before a question: what of a ranking is recalled, and the window as it is once that is there.

        The window moves on while blocks are ranked and fetched. One that was ranked and has come into it stands once;
        one that was not ranked, as it stood in the window then, and has left it, is fetched too.
        """
        recalled = yield from self.fetch([hit.info for hit in self.fitting(hits, span)])
        left = self._stream.retriever.index.by_id(sorted(self.in_window - self._window_ids()))
        of_then = [info for info in left if span is None or span.touches(info.start_ns, info.end_ns)]
        window = self._window_ids()
        recalled = [block for block in recalled if block.info.block_id not in window] + finished(self.fetch(of_then))
        recalled.sort(key=_in_time)
        return recalled + self.recent(span, anything_recalled=bool(recalled))

    def recent(self, span: Span | None, *, anything_recalled: bool) -> list[Seen]:
        """The window's blocks that bear on the question: all of them, or where it names a time, those of that time.

        Views: valid until the window's next append. Where the memory holds nothing of that time, the window stands for
        what there is.
        """
        window = self._stream.window
        known = self._stream.retriever.index.by_id([block.block_id for block in window.blocks])
        infos = {info.block_id: info for info in known}
        everything = [
            Seen(infos[part.block_id], "window", "window", part.keys, part.values, part.places)
            for part in window.parts()
            if part.block_id in infos
        ]
        if span is None:
            return everything
        of_then = [block for block in everything if span.touches(block.info.start_ns, block.info.end_ns)]
        return of_then if of_then or anything_recalled else everything

    def lay_out(self, seen: list[Seen]) -> Context:
        """`sink | recalled | window`."""
        parts = [self._stream.window.sink, *((block.keys, block.values) for block in seen)]
        recalled = sum(block.origin != "window" for block in seen)
        return self._model.lay_out(parts, [None, *(block.places for block in seen)], recalled=recalled)

    def by_layer(self, retriever: RekvRetriever, span: Span | None) -> LayerwiseRecall:
        """As `rank`, `fitting` and `fetch`, for each layer when its turn comes."""
        self.in_window = self._window_ids()
        recalls = span is not None and len(retriever.index.infos(span).without(self.in_window)) > 0
        recent = self.recent(span, anything_recalled=recalls)

        def rank(layer: int, queries: Tensor) -> list[Hit]:
            return self.fitting(retriever.rank_layer(layer, queries, span, self.in_window), span)

        # Copies: the question goes through the model in many steps, and the window's own are moved meanwhile.
        parts = [Part(block.keys.clone(), block.values.clone(), block.places) for block in recent]
        return LayerwiseRecall(self._model, Part(*self._stream.window.sink), parts, rank, self._block)

    def _window_ids(self) -> frozenset[int]:
        return frozenset(block.block_id for block in self._stream.window.blocks)

    def _one(self, info: BlockInfo) -> Seen | None:
        tier = "ram" if self._tiers.in_ram(self._stream.name, info.block_id) else "disk"
        block = self._block(info)
        return None if block is None else recalled(block, tier)

    def _block(self, info: BlockInfo) -> Block | None:
        try:
            return self._tiers.fetch(self._stream.name, [info.block_id])[0]
        except (CorruptBlock, BlockNotFound) as exc:  # or forgotten since it was ranked
            _log.warning("block left out", stream=self._stream.name, error=str(exc))
            return None


def _in_time(block: Seen) -> tuple[int, int]:
    return block.info.start_ns, block.info.block_id


def recalled(block: Block, tier: str) -> Seen:
    """A block that came from the memory."""
    return Seen(block.info, "recalled", tier, block.keys, block.values, block.places)
