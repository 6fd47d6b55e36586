"""`IndexDay`: one UTC day of an index, its blocks and their vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...memory.block import BlockInfo
from .clusters import FEWEST, Clusters
from .flat import Flat

SPAN_ROWS = np.dtype([("block_id", "i8"), ("start_ns", "i8"), ("end_ns", "i8"), ("tokens", "i4"), ("gap", "?")])


class IndexDay:
    """The blocks of a day in order of arrival, and their vectors.

    Args:
        shapes: as for `SignatureIndex`.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]]) -> None:
        self.shapes = shapes
        self.rows = np.empty(256, SPAN_ROWS)
        self.count = 0
        self.vectors: list[Flat | Clusters] = [Flat(dim) for _, dim in shapes]
        self.mapped: object = None  # the file that the vectors lie in; None where they are in memory

    @property
    def blocks(self) -> NDArray[np.void]:
        """A row for each block."""
        return self.rows[: self.count]

    @property
    def may_grow(self) -> bool:
        """Whether `add` may be called: not on vectors in a file or in clusters."""
        return self.mapped is None and all(isinstance(part, Flat) for part in self.vectors)

    def add(self, info: BlockInfo, parts: Sequence[Tensor]) -> None:
        """Takes a block in, with the vectors of each part, shaped as `shapes` says."""
        if self.count == len(self.rows):
            self.rows = np.concatenate([self.rows, np.empty_like(self.rows)])
        self.rows[self.count] = tuple(info)
        self.count += 1
        for vectors, part in zip(self.vectors, parts, strict=True):
            assert isinstance(vectors, Flat), "a day in clusters takes in no block"
            vectors.add(part.numpy())

    def only(self, stays: NDArray[np.bool_]) -> IndexDay:
        """The same without some blocks, and free to grow."""
        day = IndexDay(self.shapes)
        day.rows, day.count = self.blocks[stays].copy(), int(stays.sum())
        for (per_block, _), old, new in zip(self.shapes, self.vectors, day.vectors, strict=True):
            assert isinstance(new, Flat), "a new day is flat"
            new.add(old.all()[np.repeat(stays, per_block)])
        return day

    def sealed(self) -> IndexDay:
        """The same with its vectors in clusters, where it has many; the same blocks always give the same clusters.

        Where a block has one vector only, these stay flat: they are few, and `rekv` is to be exact.
        """
        day = IndexDay(self.shapes)
        day.rows, day.count = self.rows, self.count
        day.vectors = [
            Clusters.of(part.all()) if per_block > 1 and len(part) >= FEWEST else part
            for (per_block, _), part in zip(self.shapes, self.vectors, strict=True)
        ]
        return day


@dataclass(frozen=True, eq=False)
class ClosedDay:
    """A day whose vectors have not been needed yet.

    Attributes:
        blocks: a row for each block.
        open: reads the whole day; called once.
    """

    blocks: NDArray[np.void]
    open: Callable[[], IndexDay]

    @property
    def count(self) -> int:
        """How many blocks it holds."""
        return len(self.blocks)
