"""`Signatures`: a stream's signatures as its memory holds them, all for the same retrieval heads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from ...memory.block import BlockInfo, Geometry
from ...memory.errors import BlockNotFound, CorruptBlock
from ...memory.partition import Partition
from ...memory.tiers import Tiers
from ...retrieval.signature import SignatureLayout
from ..log import get_logger


class Signatures:
    """Reads signatures. If one was made for other heads, it makes a new one from its block's keys.

    For that it must read the whole block. What is on disk stays as it is: past days have index files, so this happens
    only once.

    Args:
        foreign_until: the newest block whose signature is known to be for other heads. Later ones are recognised by
            their number of rows.
    """

    def __init__(
        self, stream: str, tiers: Tiers, layout: SignatureLayout, geometry: Geometry, foreign_until: int = 0
    ) -> None:
        self._stream, self._tiers, self._layout = stream, tiers, layout
        self._rows, self._foreign_until = layout.rows(geometry), foreign_until
        self._log = get_logger("index").bind(stream=stream)

    def read(self, partitions: Sequence[Partition]) -> Iterator[tuple[BlockInfo, Tensor]]:
        """As `Tiers.signatures`, without blocks that cannot be read."""
        remade = 0
        for info, signature in self._tiers.signatures(self._stream, partitions):
            if info.block_id > self._foreign_until and len(signature) >= self._rows:
                yield info, signature
                continue
            try:
                (block,) = self._tiers.fetch(self._stream, [info.block_id])
            except (CorruptBlock, BlockNotFound):
                continue
            remade += 1
            yield info, self._layout.signatures(block.keys[None])[0]
        if remade:
            self._log.debug("signatures of other retrieval heads were made again", blocks=remade)
