"""Which tokens of a block stay when it fades to fewer: those that differ most from what the stream usually shows."""

from __future__ import annotations

import math

import torch

from .block import Block
from .scales import Scales


def thinned(block: Block, scales: Scales, share: float, text_tokens: int) -> Block:
    """The block with a share of its visual tokens, and all of its text. The block itself if it has no more than that.

    A camera's background is in every block; what differs from it is what happened. So the strangest tokens stay. How
    strange a token is, is the mean squared distance of its keys and values from the usual ones at its place, measured
    in spreads.

    Args:
        share: of the visual tokens that a whole block has.
        text_tokens: the first tokens of a block, which are never left out.
    """
    tokens = block.keys.shape[2]
    whole = tokens if block.places is None else block.places.of
    room = text_tokens + math.ceil(share * (whole - text_tokens))
    if tokens <= room:
        return block
    usual = scales.fitting(tokens, block.places)
    both = torch.stack([block.keys, block.values]).float().cpu()
    strange = ((both - usual.mean) / usual.spread).square().mean((0, 1, 2, 4))
    strange[:text_tokens] = math.inf
    return block.only(sorted(strange.topk(room).indices.tolist()))
