"""`Footprint`: the tokens that a block has in a context, and the positions that it takes there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...memory.block import Places


class Footprint(NamedTuple):
    """A thinned block takes as many positions as if it were whole: its tokens stay where they stood in the frame.

        whole     t0 t1 t2 t3     positions 0 1 2 3, extent 4
        thinned   t0       t3     positions 0 3,     extent 4

    Attributes:
        places: where the tokens stand, if some were left out.
    """

    tokens: int
    places: Places | None = None

    @property
    def extent(self) -> int:
        """Positions from its first to the next block's first."""
        return self.tokens if self.places is None else self.places.of

    @property
    def positions(self) -> Tensor:
        """Each token's, `[T]`, from 0 on."""
        return torch.arange(self.tokens) if self.places is None else torch.tensor(self.places.kept)


def spread_positions(footprints: Sequence[Footprint], *, recalled: int, spread_tokens: int) -> Tensor:
    """The position of each token of a context, `[T]`, with its recalled blocks spread out.

    A model tells the order of blocks by how far apart they stand. So recalled blocks that take fewer than
    `spread_tokens` positions are given the rest as equal gaps, one before each of them and one behind the last:

        sink · gap · recalled · gap · recalled · gap · window

    Args:
        footprints: of all parts of the context, in order. The first is the sink.
        recalled: how many parts behind the first are recalled blocks.
    """
    taken = sum(part.extent for part in footprints[1 : 1 + recalled])
    gap = max(0, spread_tokens - taken) // (recalled + 1) if recalled else 0
    begin, positions = 0, []
    for i, part in enumerate(footprints):
        begin += gap if 1 <= i <= recalled + 1 else 0
        positions.append(begin + part.positions)
        begin += part.extent
    return torch.cat(positions)
