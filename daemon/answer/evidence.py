"""What an answer rests on: the attention that each block in its context got while it was decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ...retrieval.heads import RetrievalHeads
from ...retrieval.retrievers.retriever import Hit
from ...retrieval.time.span import Span
from ..model.video_lm import VideoLM
from ..protocol import Candidate, Evidence, Explanation, Step
from .recall import Seen
from .when import When

EVIDENCE_BLOCKS = 8


class Said(NamedTuple):
    """What was decoded behind one context.

    Attributes:
        seen: the blocks that stood in it.
        use: each one's share of the attention, by its id.
    """

    text: str
    seen: Sequence[Seen]
    use: dict[int, float]


def watched(heads: RetrievalHeads | None, model: VideoLM) -> dict[int, list[int]]:
    """The query heads by layer that are watched while an answer is decoded: the retrieval heads, without any, all."""
    if heads is None:
        return {layer: list(range(model.query_heads)) for layer in range(model.geometry.layers)}
    by_layer: dict[int, list[int]] = {}
    for layer, head in heads.heads:
        by_layer.setdefault(layer, []).append(head)
    return by_layer


def use_of(seen: Sequence[Seen], sink_tokens: int, attended: Tensor) -> dict[int, float]:
    """Each block's share of the attention that went to blocks, by its id; they add up to 1.

    Args:
        seen: the blocks as they were laid out behind the sink.
        attended: what each token of the context got, `[C]`.
    """
    ends = np.cumsum([sink_tokens, *(block.keys.shape[2] for block in seen)]).tolist()
    paid = [float(attended[start:end].sum()) for start, end in pairwise(ends)]
    total = sum(paid) or 1.0
    return {block.info.block_id: share / total for block, share in zip(seen, paid, strict=True)}


def evidence_of(said: Sequence[Said], hits: Sequence[Hit], picture: Callable[[int], bytes]) -> list[Evidence]:
    """The blocks that were used most, best first; of each part of a time at least the one used most.

    Args:
        said: what was answered, part by part.
        hits: as the retriever ranked them.
        picture: a block's JPEG.
    """
    use = {block_id: share / len(said) for part in said for block_id, share in part.use.items()}
    scores = {hit.info.block_id: hit.score for hit in hits}
    best = {max(part.use, key=lambda i: (part.use[i], -i)) for part in said if part.use}
    ranked = sorted(
        (block for part in said for block in part.seen),
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


def explanation_of(asked: When, hits: Sequence[Hit], said: Sequence[Said], steps: list[Step]) -> Explanation:
    """How an answer came about."""
    use = {block_id: share for part in said for block_id, share in part.use.items()}
    seen = {block.info.block_id: block for part in said for block in part.seen}
    scores = {hit.info.block_id: hit.score for hit in hits}
    infos = {hit.info.block_id: hit.info for hit in hits} | {i: block.info for i, block in seen.items()}
    event = asked.event_span or Span()
    return Explanation(
        words=asked.words,
        event=asked.event,
        event_since_ns=event.since_ns,
        event_until_ns=event.until_ns,
        question=asked.question,
        present=asked.present,
        parts=[part.text for part in said[:-1]],
        candidates=[
            Candidate(
                block_id=block_id,
                start_ns=info.start_ns,
                end_ns=info.end_ns,
                score=scores.get(block_id, 0.0),
                tier=seen[block_id].tier if block_id in seen else "",
                use=use.get(block_id, 0.0),
            )
            for block_id, info in infos.items()
        ],
        steps=steps,
    )
