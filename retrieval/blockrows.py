"""`BlockRows`: blocks as rows of an index. A row becomes a `BlockInfo` only when somebody takes it.

A span of weeks has hundreds of thousands of blocks, and a question looks at few of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ..memory.block import BlockInfo


class BlockRows(Sequence[BlockInfo]):
    """A sequence of blocks.

    Args:
        rows: with the fields of `BlockInfo`.
    """

    def __init__(self, rows: NDArray[np.void]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[BlockInfo]:
        return (BlockInfo(*row) for row in self._rows.tolist())

    @overload
    def __getitem__(self, at: int) -> BlockInfo: ...

    @overload
    def __getitem__(self, at: slice) -> BlockRows: ...

    def __getitem__(self, at: int | slice) -> BlockInfo | BlockRows:
        return BlockRows(self._rows[at]) if isinstance(at, slice) else BlockInfo(*self._rows[at].tolist())

    @property
    def most_tokens(self) -> int:
        """The tokens of the largest block; 1 if there is no block."""
        return int(self._rows["tokens"].max(initial=1))

    def video(self) -> BlockRows:
        """Those that show something; the others stand for gaps."""
        return BlockRows(self._rows[~self._rows["gap"]])

    def without(self, block_ids: Collection[int]) -> BlockRows:
        """All but some."""
        gone = np.fromiter(block_ids, np.int64, len(block_ids))
        return BlockRows(self._rows[~np.isin(self._rows["block_id"], gone)])
