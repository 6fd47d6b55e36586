"""`Scales`: each channel's mean and spread in one stream, against which its blocks are quantised.

A block of 24 tokens that carries its own ranges pays 0.9 bits a value for them. A camera's channels keep their mean and
spread (a block's mean moves by 0.4 of a spread), so they are measured once, on the stream's first blocks, and kept in
every day's file that needs them.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .block import Block
from .errors import CorruptBlock

DIGEST_BYTES = 8
_SHAPE = struct.Struct(">HHH")
_LEAST_SPREAD = 1e-2  # of the mean spread of its kind: a channel that did not move may yet do so


class Moments(NamedTuple):
    """How many tokens a block has, and each channel's mean and variance over them, `[2, L, H, 1, D]` float32."""

    tokens: int
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, block: Block) -> Moments:
        """Measured on the block's device, kept on the CPU."""
        both = torch.stack([block.keys, block.values]).float()
        variance, mean = torch.var_mean(both, 3, correction=0, keepdim=True)
        return cls(both.shape[3], mean.cpu(), variance.cpu())


@dataclass(frozen=True, eq=False)
class Scales:
    """Means and spreads (standard deviations) `[2, L, H, 1, D]` float32 on the CPU, keys first, then values."""

    mean: Tensor
    spread: Tensor

    @classmethod
    def of(cls, blocks: Sequence[Moments]) -> Scales:
        """Over all tokens of some blocks, rounded to the 16 bits in which they are kept."""
        shares = torch.tensor([block.tokens for block in blocks]).view(-1, 1, 1, 1, 1, 1)
        shares = shares / shares.sum()
        means = torch.stack([block.mean for block in blocks])
        mean = (shares * means).sum(0)
        within = (shares * torch.stack([block.variance for block in blocks])).sum(0)
        spread = (within + (shares * (means - mean).square()).sum(0)).sqrt()
        least = _LEAST_SPREAD * spread.mean((1, 2, 3, 4), keepdim=True) + 1e-6
        return cls(mean.half().float(), torch.maximum(spread, least).half().float())

    @functools.cached_property
    def digest(self) -> bytes:
        """Eight bytes by which a record names its scales."""
        return hashlib.sha256(self.to_bytes()).digest()[:DIGEST_BYTES]

    def to_bytes(self) -> bytes:
        """As kept: the shape, then means and spreads as float16."""
        _, layers, heads, _, dim = self.mean.shape
        return _SHAPE.pack(layers, heads, dim) + torch.stack([self.mean, self.spread]).half().numpy().tobytes()

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Scales:
        """The scales that were kept.

        Raises:
            CorruptBlock: the length does not fit the shape.
        """
        layers, heads, dim = _SHAPE.unpack(data[: _SHAPE.size])
        if len(data) != _SHAPE.size + 8 * layers * heads * dim:
            raise CorruptBlock(f"scales have {len(data)} bytes, which does not fit {layers} x {heads} x {dim}")
        kept = np.frombuffer(data, np.float16, offset=_SHAPE.size).astype(np.float32)
        mean, spread = torch.from_numpy(kept).view(2, 2, layers, heads, 1, dim)
        return cls(mean, spread)
