"""`Block`: the keys and values of one frame, with its clock and time span."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor


class Geometry(NamedTuple):
    """What every block of a model has in common."""

    layers: int
    kv_heads: int
    head_dim: int


class Places(NamedTuple):
    """Where the tokens of a thinned block stand among those of the whole block.

    Attributes:
        kept: rising, one for each of its tokens.
        of: tokens of the whole block. In a context the thinned one takes as many positions.
    """

    kept: tuple[int, ...]
    of: int


class BlockInfo(NamedTuple):
    """Everything that is known about a block without reading its keys and values."""

    block_id: int
    start_ns: int
    end_ns: int
    tokens: int
    gap: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """One frame as the model saw it; the unit of spill, store and recall.

    Attributes:
        block_id: above 0, unique in its stream, rising with arrival.
        start_ns, end_ns: UTC; the first and the last frame it stands for.
        keys, values: `[L, H, T, D]`, keys before rotary.
        places: where the tokens stand, if some were left out.
        signature: float16 `[N, E]` on the CPU: the vectors by which it is found. Only `retrieval` knows the rows.
        picture: the frame as JPEG; empty where there is none.
        gap: it stands for a time with no video, and its tokens are a line of text.
    """

    block_id: int
    start_ns: int
    end_ns: int
    keys: Tensor
    values: Tensor
    signature: Tensor
    picture: bytes = b""
    gap: bool = False
    places: Places | None = None

    @classmethod
    def bare(cls, info: BlockInfo, keys: Tensor, values: Tensor, places: Places | None = None) -> Block:
        """A block without signature and picture."""
        return cls(
            block_id=info.block_id,
            start_ns=info.start_ns,
            end_ns=info.end_ns,
            keys=keys,
            values=values,
            signature=torch.empty(0, 0, dtype=torch.float16),
            gap=info.gap,
            places=places,
        )

    def only(self, tokens: Sequence[int]) -> Block:
        """The block with only these of its tokens, in rising order."""
        places = self.places or Places(tuple(range(self.keys.shape[2])), self.keys.shape[2])
        return replace(
            self,
            keys=self.keys[:, :, list(tokens)],
            values=self.values[:, :, list(tokens)],
            places=Places(tuple(places.kept[i] for i in tokens), places.of),
        )

    @property
    def info(self) -> BlockInfo:
        """The block without its keys and values."""
        return BlockInfo(self.block_id, self.start_ns, self.end_ns, self.keys.shape[2], self.gap)
