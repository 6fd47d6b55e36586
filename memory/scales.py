"""`Scales`: what keys and values usually are in one stream, against which its blocks are quantised.

A block of 24 tokens that carries its own ranges pays 0.9 bits a value for them. But a camera stands still: a token at a
place in the picture mostly shows what it showed before. So the usual keys and values are measured once, on the stream's
first blocks, and kept in each day's file that needs them. Against the mean of its place a value takes 0.15 to 0.3 bits
less than against the mean of its channel, at equal error.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import zstandard
from torch import Tensor

from .block import Block, Places
from .decompress import check_values, decompress
from .errors import CorruptBlock

DIGEST_BYTES = 8
_SHAPE = struct.Struct(">HHHH")
_LEAST_SPREAD = 1e-2  # of the mean spread of keys, or values: a channel that was still so far may move later
_OFFSET_STEP, _MOST_STEPS = 1 / 8, 127
_ZSTD_LEVEL = 19


@dataclass(frozen=True, eq=False)
class Scales:
    """The usual keys and values of a stream: keys first, then values, on the CPU.

    Attributes:
        centre: `[2, L, H, 1, D]` float32, the mean of each channel over all tokens.
        spread: as `centre`, the standard deviation.
        offsets: `[2, L, H, T, D]` int8, how far the mean of each token's place is from the centre, in eighths of a
            spread; `T` is 1 where no place is known.
    """

    centre: Tensor
    spread: Tensor
    offsets: Tensor

    @classmethod
    def of(cls, blocks: Iterable[Block]) -> Scales:
        """Measured on all blocks that have as many tokens as the first, and rounded as they are kept."""
        measuring = Measuring()
        for block in blocks:
            measuring.add(block)
        return measuring.scales()

    @functools.cached_property
    def mean(self) -> Tensor:
        """`[2, L, H, T, D]` float32, the mean at each token's place."""
        return self.centre + self.offsets.float() * (self.spread * _OFFSET_STEP)

    @functools.cached_property
    def digest(self) -> bytes:
        """Eight bytes by which a record names its scales."""
        return hashlib.sha256(self._body()).digest()[:DIGEST_BYTES]

    def fitting(self, tokens: int, places: Places | None = None) -> Scales:
        """The same for a block of so many tokens. Unless they are as many as usual, nobody knows their places."""
        usual = self.offsets.shape[3]
        if places is not None and places.of == usual:
            return Scales(self.centre, self.spread, self.offsets[:, :, :, list(places.kept)])
        if places is None and tokens == usual:
            return self
        return Scales(self.centre, self.spread, torch.zeros_like(self.offsets[:, :, :, :1]))

    @functools.cached_property
    def packed(self) -> bytes:
        """As they are kept: the shape, then compressed: centre and spread as float16, offsets. See `unpack`."""
        return _SHAPE.pack(*self.offsets.shape[1:]) + zstandard.compress(self._body(), _ZSTD_LEVEL)

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> Scales:
        """The scales that were kept.

        Raises:
            CorruptBlock: they cannot be decompressed, or the length does not fit the shape.
        """
        if len(data) < _SHAPE.size:
            raise CorruptBlock(f"scales have {len(data)} bytes")
        layers, heads, tokens, dim = _SHAPE.unpack(data[: _SHAPE.size])
        channels = layers * heads * dim
        check_values(channels * tokens, "scales")
        body = decompress(data[_SHAPE.size :], (8 + 2 * tokens) * channels, "scales")
        if len(body) != (8 + 2 * tokens) * channels:
            raise CorruptBlock(
                f"scales have {len(body)} bytes, which does not fit {layers} x {heads} x {tokens} x {dim}"
            )
        floats = torch.from_numpy(np.frombuffer(body, np.float16, 4 * channels).astype(np.float32))
        centre, spread = floats.view(2, 2, layers, heads, 1, dim)
        offsets = torch.from_numpy(np.frombuffer(body, np.int8, offset=8 * channels).copy())
        return cls(centre, spread, offsets.view(2, layers, heads, tokens, dim))

    def _body(self) -> bytes:
        parts = (self.centre.half(), self.spread.half(), self.offsets)
        return b"".join(part.contiguous().numpy().tobytes() for part in parts)


class Measuring:
    """The sums over a stream's first blocks, from which its scales are made. Keeps no block."""

    def __init__(self) -> None:
        self.blocks = 0
        self._sum = self._squares = torch.zeros(())

    def add(self, block: Block) -> None:
        """Adds a whole block, unless it has more or fewer tokens than the first."""
        if block.places is not None:
            return
        both = torch.stack([block.keys, block.values]).double().cpu()
        if self.blocks and both.shape != self._sum.shape:
            return
        self._sum = self._sum + both
        self._squares = self._squares + both.square().mean(3, keepdim=True)
        self.blocks += 1

    def scales(self) -> Scales:
        """Those of the blocks that were added, at least one."""
        mean = self._sum / self.blocks
        centre = mean.mean(3, keepdim=True)
        spread = (self._squares / self.blocks - centre.square()).clamp(min=0).sqrt()
        least = _LEAST_SPREAD * spread.mean((1, 2, 3, 4), keepdim=True) + 1e-6
        centre, spread = centre.half().float(), torch.maximum(spread, least).half().float()
        offsets = ((mean - centre) / (spread * _OFFSET_STEP)).round().clamp(-_MOST_STEPS, _MOST_STEPS)
        return Scales(centre, spread, offsets.to(torch.int8))
