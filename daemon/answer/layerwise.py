"""`LayerwiseRecall`: blocks recalled for each layer by that layer's own queries, as ReKV does (arXiv 2503.00540).

Unlike ReKV's code, the recent window stands behind the recalled blocks of every layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from ...memory.block import Block, BlockInfo, Places
from ...retrieval.retrievers.retriever import Hit, merge_layers
from ...retrieval.steps import Steps
from ..model.context import Context
from ..model.layerwise_context import LayerwiseContext
from ..model.queries import choose_by_layer
from ..model.video_lm import VideoLM


class ContextPart(NamedTuple):
    """What stands in every layer: keys and values `[L, H, T, D]`."""

    keys: Tensor
    values: Tensor
    places: Places | None = None


class LayerwiseRecall:
    """One question's recall, which keeps its blocks on the device as long as it is there.

    Args:
        sink: stands first.
        recent: stands behind the recalled blocks; its own copy, as the window may change between the steps.
        rank: the blocks to recall for a layer, from its queries `[Hq, T, D]`.
        fetch: a block, or None where it cannot be read.
    """

    def __init__(
        self,
        model: VideoLM,
        sink: ContextPart,
        recent: Sequence[ContextPart],
        rank: Callable[[int, Tensor], list[Hit]],
        fetch: Callable[[BlockInfo], Block | None],
    ) -> None:
        self._model, self._sink, self._recent = model, sink, recent
        self._rank, self._fetch = rank, fetch
        self._rankings: list[list[Hit]] = []
        self._fetched: dict[int, Block | None] = {}  # most are recalled by several layers

    def context(self, question_ids: Sequence[int]) -> Steps[LayerwiseContext]:
        """Runs the question through the model. Returns what each layer recalled, laid out to stand before it."""
        return choose_by_layer(self._model, question_ids, self._lay_out)

    @property
    def hits(self) -> list[Hit]:
        """The blocks that were recalled in some layer, best first: by the share of layers, which is the score."""
        return [hit for hit in merge_layers(self._rankings) if self._fetched[hit.info.block_id] is not None]

    @property
    def blocks(self) -> list[Block]:
        """The same in time order."""
        there = [block for block in self._fetched.values() if block is not None]
        return sorted(there, key=lambda block: (block.start_ns, block.block_id))

    def _lay_out(self, layer: int, queries: Tensor) -> Context:
        self._rankings.append(self._rank(layer, queries))
        blocks = [block for hit in self._rankings[layer] if (block := self._block(hit.info)) is not None]
        blocks.sort(key=lambda block: (block.start_ns, block.block_id))
        recalled = [ContextPart(block.keys, block.values, block.places) for block in blocks]
        parts = [self._sink, *recalled, *self._recent]
        of_layer = [(part.keys[layer : layer + 1], part.values[layer : layer + 1]) for part in parts]
        return self._model.lay_out(of_layer, [part.places for part in parts], recalled=len(recalled))

    def _block(self, info: BlockInfo) -> Block | None:
        if info.block_id not in self._fetched:
            self._fetched[info.block_id] = self._fetch(info)
        return self._fetched[info.block_id]
