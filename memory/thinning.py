"""Which tokens of a block stay when it fades to fewer: those least like what their stream usually shows there."""

from __future__ import annotations

import math

import torch

from .block import Block
from .scales import Scales


def thinned(block: Block, scales: Scales, share: float, text_tokens: int) -> Block:
    """The block with so large a share of a whole one's visual tokens, and all of its text.

    A camera's background is in every block; what differs from it is what happened. A token's strangeness is the mean
    squared distance of its keys and values from those that are usual at its place, in spreads.

    Args:
        text_tokens: the first tokens of a block, which are never dropped.
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
