"""`Tiers`: RAM over disk, and the one door through which the daemon reaches the memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from .block import Block, BlockInfo
from .codec.codec import LayerHead
from .errors import BlockNotFound, CorruptBlock
from .packer import Packer
from .partition import Partition
from .ram import BlockKey, RamTier, UnwrittenBlock
from .record import Record
from .rows import Entry
from .store import Store
from .streamscales import StreamScales


class TierStats(NamedTuple):
    """What RAM holds, and how many blocks cannot be read."""

    ram_bytes: int
    ram_blocks: int
    damaged: int


class Tiers:
    """Packed blocks in RAM over the store. Thread-safe.

    Every value is checked when it is read. A block that fails is refused from then on.

    Args:
        store: the disk; its writer's `on_durable` and `on_lost` are taken over.
        codec: name of the codec for new blocks; the records of old ones name theirs.
        ram_bytes: as in `RamTier`.
        fingerprint: hex digest of model and configuration; blocks of another are refused.
        device, dtype: where and as what fetched blocks are wanted.
        text_tokens: the first tokens of every block, which stay when it fades.

    Attributes:
        on_damage: called with (stream, id, why) once for each block that cannot be read, on any thread.
        on_lost: called with (stream, blocks, why) when blocks can never be written and have left RAM, on any thread.
    """

    def __init__(
        self,
        store: Store,
        *,
        codec: str,
        ram_bytes: int,
        fingerprint: str,
        device: torch.device,
        dtype: torch.dtype,
        text_tokens: int = 0,
    ) -> None:
        self.store = store
        store.writer.on_durable, store.writer.on_lost = self._note_durable, self._note_lost
        self.packer = Packer(codec, fingerprint, StreamScales(store.partitions))
        self.ram = RamTier(ram_bytes)
        self.text_tokens = text_tokens
        self._device, self._dtype = device, dtype
        self._damaged: dict[BlockKey, str] = {}
        self._lock = threading.Lock()  # over what is damaged
        self.on_damage: Callable[[str, int, str], None] = lambda stream, block_id, why: None
        self.on_lost: Callable[[str, list[BlockInfo], str], None] = lambda stream, blocks, why: None

    def spill(self, stream: str, block: Block) -> Block:
        """Packs a block into RAM and queues it for the disk.

        Returns:
            the block as it will come back, so that what stands in a window is what a restart finds there.

        Raises:
            CodecError: the block does not fit the codec.
        """
        record, codec, scales = self.packer.pack(stream, block)
        back = block
        if not codec.exact:  # before it is kept: if the device has no room for it, nothing of it is left anywhere
            keys, values = self.packer.read(stream, record, "the block just packed").unpack()
            back = replace(block, keys=keys.to(self._device), values=values.to(self._device))
        self.ram.add((stream, block.block_id), record, UnwrittenBlock(block.info, block.picture))
        self.store.put(stream, Entry(block.info, record, block.signature, block.picture, scales))
        return back

    def extend(self, stream: str, info: BlockInfo, end_ns: int) -> None:
        """Notes that a block's scene still holds."""
        self.ram.extend((stream, info.block_id), info._replace(end_ns=end_ns))
        self.store.extend(stream, info, end_ns)

    def fetch(self, stream: str, block_ids: Sequence[int]) -> list[Block]:
        """Blocks on the device, in time order, each once. Signatures are left out.

        Raises:
            BlockNotFound: an id was never stored, or was forgotten.
            CorruptBlock: a checksum does not hold.
            FingerprintMismatch: another model made the block.
        """
        blocks = []
        for block_id in dict.fromkeys(block_ids):
            record, info = self.record(stream, block_id), self._info(stream, block_id)
            keys, values = (x.to(self._device, self._dtype) for x in record.unpack())
            blocks.append(Block.bare(info, keys, values, record.places))
        return sorted(blocks, key=lambda block: (block.start_ns, block.block_id))

    def keys(self, stream: str, block_id: int, heads: Sequence[LayerHead]) -> Tensor:
        """Float32 keys `[len(heads), T, D]` of some (layer, KV head) pairs, the rest left packed."""
        return self.record(stream, block_id).unpack_keys(heads)

    def record(self, stream: str, block_id: int) -> Record:
        """A block's record, checked and still packed. From the disk it goes into RAM. Raises as `fetch`."""
        key = (stream, block_id)
        data = self.ram.get(key)
        with self._lock:
            damage = self._damaged.get(key)
        if damage is not None:
            raise CorruptBlock(damage)
        from_disk = data is None
        try:
            if data is None:
                data = self.store.blocks_with(stream, block_id).record(block_id)
            record = self.packer.read(stream, data, f"block {block_id} of {stream}")
        except CorruptBlock as exc:
            self._note_damage(stream, block_id, exc)
            raise
        if from_disk:
            self.ram.keep(key, data)
        return record

    def in_ram(self, stream: str, block_id: int) -> bool:
        """Whether a block can be fetched without reading the disk."""
        return (stream, block_id) in self.ram

    def picture(self, stream: str, block_id: int) -> bytes:
        """A block's JPEG, empty where it has none or it cannot be read."""
        unwritten = self.ram.unwritten((stream, block_id))
        if unwritten is not None:
            return unwritten.picture
        try:
            return self.store.blocks_with(stream, block_id).picture(block_id)
        except BlockNotFound:  # forgotten a moment ago
            return b""
        except CorruptBlock as exc:
            self._note_damage(stream, block_id, exc)
            return b""

    def signatures(
        self, stream: str, partitions: Sequence[Partition] | None = None
    ) -> Iterator[tuple[BlockInfo, Tensor]]:
        """Every block on disk that can be read, with its signature; of all days, or of some."""
        for partition in self.store.partitions(stream) if partitions is None else partitions:
            yield from partition.blocks.signatures(lambda block_id, exc: self._note_damage(stream, block_id, exc))

    def drop(self, stream: str, block_ids: Sequence[int]) -> None:
        """Lets go of forgotten blocks in RAM."""
        keys = [(stream, block_id) for block_id in block_ids]
        self.ram.drop(keys)
        with self._lock:
            for key in keys:
                self._damaged.pop(key, None)

    @property
    def stats(self) -> TierStats:
        """Numbers for status."""
        return TierStats(self.ram.size_bytes, len(self.ram), len(self._damaged))

    def check_integrity(self) -> None:
        """Raises AssertionError with the numbers where the books do not balance."""
        self.ram.check_integrity()

    def _info(self, stream: str, block_id: int) -> BlockInfo:
        unwritten = self.ram.unwritten((stream, block_id))
        if unwritten is not None:
            return unwritten.info
        try:
            return self.store.blocks_with(stream, block_id).info(block_id)
        except CorruptBlock as exc:
            self._note_damage(stream, block_id, exc)
            raise

    def _note_damage(self, stream: str, block_id: int, exc: Exception) -> None:
        with self._lock:
            is_known = (stream, block_id) in self._damaged
            self._damaged[stream, block_id] = str(exc)
        if not is_known:
            self.on_damage(stream, block_id, str(exc))

    def _note_durable(self, stream: str, block_ids: Sequence[int]) -> None:
        self.ram.note_durable([(stream, block_id) for block_id in block_ids])

    def _note_lost(self, stream: str, blocks: list[BlockInfo], why: str) -> None:
        self.drop(stream, [info.block_id for info in blocks])
        self.on_lost(stream, blocks, why)
