"""Fades a past day: its blocks are packed to fewer bits and tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice

from .block import Block
from .codec.registry import CODECS
from .errors import BlockNotFound, CorruptBlock
from .partition import Partition
from .scales import Scales
from .settings import FadeStep
from .streamscales import SCALED_ON
from .thinning import thinned
from .tiers import Tiers


def fade_day(tiers: Tiers, stream: str, day: Partition, step: FadeStep, on_block: Callable[[], None]) -> bool:
    """Packs a past day's blocks to fewer bits and tokens, on any thread. A damaged block stays as it is.

    Args:
        on_block: called before each block; what it raises ends this, and the day stays as it was.

    Returns:
        whether any block had more before.

    Raises:
        StoreUnwritable: there is no room for the new file; nothing was changed.
    """
    first = next(_of_video(tiers, stream, day), None)
    if first is None:
        return False
    scales = _scales_of(tiers, stream, day)
    fading = _Fading(tiers, stream, day, step, scales)
    codec = tiers.record(stream, first.block_id).codec
    if codec.bits <= CODECS[step.codec].bits and fading.thin(first) is first:
        return False

    def pack(block_id: int, record: bytes) -> tuple[bytes, int | None]:
        on_block()
        return fading.pack(block_id, record)

    tiers.packer.scales.add_old(stream, scales)  # before anybody can meet a record that needs them
    day.repack(pack, scales)
    tiers.ram.drop_copies([(stream, block_id) for block_id in day.blocks.ids()])
    return True


class _Fading:
    """What becomes of each block of a day."""

    def __init__(self, tiers: Tiers, stream: str, day: Partition, step: FadeStep, scales: Scales) -> None:
        self._packer, self._text_tokens = tiers.packer, tiers.text_tokens
        self._stream, self._day, self._step, self._scales = stream, day, step, scales

    def pack(self, block_id: int, data: bytes) -> tuple[bytes, int | None]:
        """A `Pack`. Never to more bits or tokens than the block has."""
        try:
            record = self._packer.read(self._stream, data, f"block {block_id} of {self._stream}")
            info = self._day.blocks.info(block_id)
        except (CorruptBlock, BlockNotFound):
            return data, None
        block = Block.bare(info, *record.unpack(), record.places)
        thin = self.thin(block)
        codec = min(record.codec, CODECS[self._step.codec], key=lambda codec: codec.bits)
        if codec is record.codec and thin is block:
            return data, None
        return self._packer.pack_with(thin, codec, self._scales), thin.info.tokens

    def thin(self, block: Block) -> Block:
        """The block itself where it has no more tokens than it should; a gap's line of text stays."""
        return block if block.gap else thinned(block, self._scales, self._step.tokens, self._text_tokens)


def _scales_of(tiers: Tiers, stream: str, day: Partition) -> Scales:
    """The scales that a past day's blocks have. If they have none, they are measured on the day's first blocks."""
    for scales in day.blocks.scales().values():
        return scales
    return Scales.of(islice(_of_video(tiers, stream, day), SCALED_ON))


def _of_video(tiers: Tiers, stream: str, day: Partition) -> Iterator[Block]:
    """A day's blocks of video that can be read, oldest first."""
    for block_id in day.blocks.ids():
        with suppress(CorruptBlock, BlockNotFound):
            (block,) = tiers.fetch(stream, [block_id])
            if not block.gap:
                yield block
