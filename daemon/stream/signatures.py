"""`Signatures`: a stream's signatures as they come from its memory, all made for the same retrieval heads."""

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
    """Reads signatures; one that was made for other heads is made again from its block's keys.

    That costs the reading of a whole block. What is on disk stays as it is: past days have index files, so they are
    read once.

    Args:
        foreign: the newest block whose signature is known to be made for other heads. Else they are told by their rows.
    """

    def __init__(
        self, stream: str, tiers: Tiers, layout: SignatureLayout, geometry: Geometry, foreign: int = 0
    ) -> None:
        self._stream, self._tiers, self._layout = stream, tiers, layout
        self._rows, self._foreign = layout.rows(geometry), foreign
        self._log = get_logger("index").bind(stream=stream)

    def __call__(self, partitions: Sequence[Partition]) -> Iterator[tuple[BlockInfo, Tensor]]:
        """As `Tiers.signatures`, without blocks that cannot be read."""
        made_again = 0
        for info, signature in self._tiers.signatures(self._stream, partitions):
            if info.block_id > self._foreign and len(signature) >= self._rows:
                yield info, signature
                continue
            try:
                (block,) = self._tiers.fetch(self._stream, [info.block_id])
            except (CorruptBlock, BlockNotFound):
                continue
            made_again += 1
            yield info, self._layout.signatures(block.keys[None])[0]
        if made_again:
            self._log.info("signatures of other retrieval heads were made again", blocks=made_again)
