"""What an answer rests on: the attention that each block in its context got while it was decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ...retrieval.heads import RetrievalHeads
from ...retrieval.retrievers.retriever import Hit
from ..model.video_lm import VideoLM
from ..protocol import Evidence
from .recall import ContextBlock

EVIDENCE_BLOCKS = 8


class AnswerPart(NamedTuple):
    """What was decoded behind one context.

    Attributes:
        blocks: that stood in it.
        use: each one's share of the attention, by its id.
    """

    text: str
    blocks: Sequence[ContextBlock] = ()
    use: dict[int, float] = {}  # noqa: RUF012


class Outcome(NamedTuple):
    """All that was decoded for a question.

    Attributes:
        parts: the last is the answer; those before it are the answers about parts of its time.
        hits: the blocks as they were ranked, best first; none where none were, or each layer ranked for itself.
    """

    parts: Sequence[AnswerPart]
    hits: Sequence[Hit] = ()

    @property
    def blocks(self) -> dict[int, ContextBlock]:
        """The blocks of all contexts, by their ids."""
        return {block.info.block_id: block for part in self.parts for block in part.blocks}


def heads_to_watch(heads: RetrievalHeads | None, model: VideoLM) -> dict[int, list[int]]:
    """The query heads by layer that are watched while an answer is decoded: the retrieval heads, without any, all."""
    if heads is None:
        return {layer: list(range(model.query_heads)) for layer in range(model.geometry.layers)}
    by_layer: dict[int, list[int]] = {}
    for layer, head in heads.heads:
        by_layer.setdefault(layer, []).append(head)
    return by_layer


def share_attention(blocks: Sequence[ContextBlock], sink_tokens: int, attended: Tensor) -> dict[int, float]:
    """Each block's share of the attention that went to blocks, by its id; they add up to 1.

    Args:
        blocks: as they were laid out behind the sink.
        attended: what each token of the context got, `[C]`.
    """
    ends = np.cumsum([sink_tokens, *(block.keys.shape[2] for block in blocks)]).tolist()
    paid = [float(attended[start:end].sum()) for start, end in pairwise(ends)]
    total = sum(paid) or 1.0
    return {block.info.block_id: share / total for block, share in zip(blocks, paid, strict=True)}


def rank_evidence(outcome: Outcome, picture: Callable[[int], bytes]) -> list[Evidence]:
    """The blocks that were used most, best first; of each part of a time at least the one used most.

    Args:
        picture: a block's JPEG.
    """
    parts = outcome.parts
    use = {block_id: share / len(parts) for part in parts for block_id, share in part.use.items()}
    scores = {hit.info.block_id: hit.score for hit in outcome.hits}
    best = {max(part.use, key=lambda i: (part.use[i], -i)) for part in parts if part.use}
    ranked = sorted(
        (block for part in parts for block in part.blocks),
        key=lambda b: (b.info.block_id not in best, -use.get(b.info.block_id, 0.0), b.info.block_id),
    )
    return [
        Evidence(
            block_id=block.info.block_id,
            start_ns=block.info.start_ns,
            end_ns=block.info.end_ns,
            use=use.get(block.info.block_id, 0.0),
            score=scores.get(block.info.block_id, 0.0),
            origin=block.origin,
            picture=picture(block.info.block_id),
        )
        for block in ranked[: max(EVIDENCE_BLOCKS, len(best))]
    ]
