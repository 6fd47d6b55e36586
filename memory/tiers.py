"""`Tiers`: RAM over disk, and the one door through which the daemon reaches the memory."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from .block import Block, BlockInfo
from .codec.codec import Codec, LayerHead
from .codec.registry import CODECS
from .errors import BlockNotFound, CorruptBlock
from .partition import Entry, Partition
from .record import Record, read_record, write_record
from .scales import Measuring, Scales
from .settings import FadeStep
from .store import Store
from .thinning import thinned

SCALED_ON = 32  # blocks of a stream on which its scales are measured; they themselves are packed without
_UNSCALED = "int4"
_Key = tuple[str, int]


class Recent(NamedTuple):
    """A block that is not durable yet, and so may not leave RAM."""

    info: BlockInfo
    picture: bytes


class TierStats(NamedTuple):
    """Where blocks were found, what RAM holds, and how many blocks cannot be read."""

    ram_bytes: int
    ram_blocks: int
    hits: int
    misses: int
    damaged: int


class Tiers:
    """Packed blocks in RAM, least recently used first out, over the store. Thread-safe.

    Every value is checked as it is read. A block that fails is refused from then on, and `on_damage` is told once.
    A block that can never be written leaves RAM too, and `on_lost` is told, on any thread.

    Args:
        store: the disk; its `on_durable` is taken over.
        codec: name of the codec for new blocks; old ones say theirs.
        fingerprint: hex digest of model and configuration; blocks of another are refused.
        device, dtype: where and as what fetched blocks are wanted.
        text_tokens: the first tokens of every block, which stay when it fades.
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
        store.on_durable, store.on_lost = self._durable, self._lost
        self._codec = CODECS[codec]
        self._budget = ram_bytes
        self._fingerprint = bytes.fromhex(fingerprint)[:16]
        self._device, self._dtype, self._text_tokens = device, dtype, text_tokens
        self._scales: dict[str, dict[bytes, Scales]] = {}  # of each stream by digest, the one in use last
        self._measuring: dict[str, Measuring] = {}  # streams that have no scales yet
        self._packed: OrderedDict[_Key, bytes] = OrderedDict()
        self._recent: dict[_Key, Recent] = {}
        self._pins: Counter[_Key] = Counter()
        self._ram_bytes = 0
        self._hits = self._misses = 0
        self._damaged: dict[_Key, str] = {}
        self.on_damage: Callable[[str, int, str], None] = lambda stream, block_id, why: None
        self.on_lost: Callable[[str, list[BlockInfo], str], None] = lambda stream, blocks, why: None
        self._lock = threading.RLock()

    def spill(self, stream: str, block: Block) -> Block:
        """Packs a block into RAM and queues it for the disk.

        Returns:
            the block as it will come back, so that what stands in a window is what a restart finds there.

        Raises:
            CodecError: the block does not fit the codec.
        """
        key, (codec, scales) = (stream, block.block_id), self._codec_for(stream, block)
        record = write_record(block, codec, self._fingerprint, scales)
        back = block
        if not codec.exact:  # first: where the device has no room for it, nothing is kept of it anywhere
            keys, values = self._read(stream, record, "the block just packed").unpack()
            back = replace(block, keys=keys.to(self._device), values=values.to(self._device))
        with self._lock:
            self._recent[key] = Recent(block.info, block.picture)
            self._keep(key, record)
        self.store.put(stream, Entry(block.info, record, block.signature, block.picture, scales))
        return back

    def extend(self, stream: str, info: BlockInfo, end_ns: int) -> None:
        """Notes that a block's scene still holds."""
        with self._lock:
            recent = self._recent.get((stream, info.block_id))
            if recent is not None:
                self._recent[stream, info.block_id] = recent._replace(info=info._replace(end_ns=end_ns))
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
            record, info = self._record(stream, block_id), self._info(stream, block_id)
            keys, values = (x.to(self._device, self._dtype) for x in record.unpack())
            blocks.append(Block.bare(info, keys, values, record.places))
        return sorted(blocks, key=lambda block: (block.start_ns, block.block_id))

    def keys(self, stream: str, block_id: int, heads: Sequence[LayerHead]) -> Tensor:
        """Float32 keys `[len(heads), T, D]` of some (layer, KV head) pairs, the rest left packed."""
        return self._record(stream, block_id).unpack_keys(heads)

    def in_ram(self, stream: str, block_id: int) -> bool:
        """Whether a block can be fetched without reading the disk."""
        with self._lock:
            return (stream, block_id) in self._packed

    def picture(self, stream: str, block_id: int) -> bytes:
        """A block's JPEG, empty where it has none or it cannot be read."""
        with self._lock:
            recent = self._recent.get((stream, block_id))
        if recent is not None:
            return recent.picture
        try:
            return self.store.picture(stream, block_id)
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
            yield from partition.signatures(lambda block_id, exc: self._note_damage(stream, block_id, exc))

    @contextmanager
    def pinned(self, stream: str, block_ids: Sequence[int]) -> Iterator[None]:
        """Keeps blocks in RAM, where they are there, until the end of the context."""
        keys = [(stream, block_id) for block_id in block_ids]
        with self._lock:
            self._pins.update(keys)
        try:
            yield
        finally:
            with self._lock:
                self._pins.subtract(keys)
                self._pins += Counter()
                self._evict()

    def fade(self, stream: str, partition: Partition, step: FadeStep, rest: Callable[[], None]) -> bool:
        """Packs a past day's blocks anew to fewer bits and tokens, on any thread. A damaged block stays as it is.

        Args:
            rest: called before each block; what it raises ends this, and the day stays as it was.

        Returns:
            whether any block had more before.

        Raises:
            StoreUnwritable: there is no room for the new file; nothing was changed.
        """
        first = next(self._of_video(stream, partition), None)
        if first is None:
            return False
        scales = self._scales_of_day(stream, partition)
        codec = self._record(stream, first.block_id).codec
        if codec.bits <= CODECS[step.codec].bits and self._thinned(first, scales, step) is first:
            return False

        def pack(block_id: int, data: bytes) -> tuple[bytes, int | None]:
            rest()
            try:
                record, info = self._read(stream, data, f"block {block_id} of {stream}"), partition.info(block_id)
            except (CorruptBlock, BlockNotFound):
                return data, None
            block = Block.bare(info, *record.unpack(), record.places)
            thin = self._thinned(block, scales, step)
            codec = min(record.codec, CODECS[step.codec], key=lambda codec: codec.bits)
            if codec is record.codec and thin is block:
                return data, None
            return write_record(thin, codec, self._fingerprint, scales), thin.info.tokens

        with self._lock:
            known = self._known_scales(stream)
            if scales.digest not in known:
                self._scales[stream] = {scales.digest: scales, **known}  # first: the last is that of new blocks
        partition.repack(pack, scales)
        with self._lock:
            for block_id in partition.ids():
                if (stream, block_id) not in self._recent:  # one that was just written, and is about to be called so
                    self._ram_bytes -= len(self._packed.pop((stream, block_id), b""))
        return True

    def drop(self, stream: str, block_ids: Sequence[int]) -> None:
        """Lets go of forgotten blocks in RAM."""
        with self._lock:
            for block_id in block_ids:
                self._ram_bytes -= len(self._packed.pop((stream, block_id), b""))
                self._recent.pop((stream, block_id), None)
                self._damaged.pop((stream, block_id), None)

    @property
    def stats(self) -> TierStats:
        """Numbers for status."""
        return TierStats(self._ram_bytes, len(self._packed), self._hits, self._misses, len(self._damaged))

    def check_integrity(self) -> None:
        """Raises AssertionError with the numbers where the books do not balance."""
        with self._lock:
            held = sum(len(record) for record in self._packed.values())
            assert held == self._ram_bytes, f"RAM holds {held} bytes, the books say {self._ram_bytes}"
            lost = [key for key in self._recent if key not in self._packed]
            assert not lost, f"{len(lost)} blocks left RAM before they were durable, first {lost[0]}"
            free = [key for key in self._packed if key not in self._recent and key not in self._pins]
            over = held - self._budget
            assert over <= 0 or not free, f"RAM is {over} bytes over its budget with {len(free)} blocks to evict"

    def _record(self, stream: str, block_id: int) -> Record:
        key = (stream, block_id)
        with self._lock:
            data = self._packed.get(key)
            if data is not None:
                self._packed.move_to_end(key)
                self._hits += 1
            damage = self._damaged.get(key)
        if damage is not None:
            raise CorruptBlock(damage)
        try:
            if data is not None:
                return self._read(stream, data, f"block {block_id} of {stream}")
            data = self.store.record(stream, block_id)
            record = self._read(stream, data, f"block {block_id} of {stream}")
        except CorruptBlock as exc:
            self._note_damage(stream, block_id, exc)
            raise
        with self._lock:
            self._misses += 1
            self._keep(key, data)
        return record

    def _read(self, stream: str, data: bytes, what: str) -> Record:
        return read_record(data, self._fingerprint, what, lambda digest: self._known_scales(stream).get(digest))

    def _codec_for(self, stream: str, block: Block) -> tuple[Codec, Scales | None]:
        """What a new block is packed with: a scaled codec waits until the stream's scales are measured."""
        if not self._codec.scaled:
            return self._codec, None
        with self._lock:
            known = self._known_scales(stream)
            if not known and not block.gap:
                first = self._measuring.setdefault(stream, Measuring())
                if first.blocks == SCALED_ON:
                    scales = self._measuring.pop(stream).scales()
                    known[scales.digest] = scales
                else:
                    first.add(block)
            if not known:
                return CODECS[_UNSCALED], None
            return self._codec, next(reversed(known.values()))

    def _scales_of_day(self, stream: str, partition: Partition) -> Scales:
        """Those that a past day's blocks have, or of a day without any, those of its first blocks."""
        for scales in partition.scales().values():
            return scales
        return Scales.of(islice(self._of_video(stream, partition), SCALED_ON))

    def _thinned(self, block: Block, scales: Scales, step: FadeStep) -> Block:
        """The block itself where it has no more tokens than it should; a gap's line of text stays."""
        return block if block.gap else thinned(block, scales, step.tokens, self._text_tokens)

    def _of_video(self, stream: str, partition: Partition) -> Iterator[Block]:
        """A day's blocks of video that can be read, oldest first."""
        for block_id in partition.ids():
            with suppress(CorruptBlock, BlockNotFound):
                (block,) = self.fetch(stream, [block_id])
                if not block.gap:
                    yield block

    def _known_scales(self, stream: str) -> dict[bytes, Scales]:
        """Every scales that the stream's blocks were packed against, by digest, the newest last."""
        with self._lock:
            if stream not in self._scales:
                days = [partition.scales() for partition in self.store.partitions(stream)]
                self._scales[stream] = {digest: scales for day in days for digest, scales in day.items()}
            return self._scales[stream]

    def _info(self, stream: str, block_id: int) -> BlockInfo:
        with self._lock:
            recent = self._recent.get((stream, block_id))
        if recent is not None:
            return recent.info
        try:
            return self.store.info(stream, block_id)
        except CorruptBlock as exc:
            self._note_damage(stream, block_id, exc)
            raise

    def _note_damage(self, stream: str, block_id: int, exc: Exception) -> None:
        with self._lock:
            known = (stream, block_id) in self._damaged
            self._damaged[stream, block_id] = str(exc)
        if not known:
            self.on_damage(stream, block_id, str(exc))

    def _keep(self, key: _Key, record: bytes) -> None:
        self._ram_bytes += len(record) - len(self._packed.get(key, b""))
        self._packed[key] = record
        self._packed.move_to_end(key)
        self._evict()

    def _evict(self) -> None:
        if self._ram_bytes <= self._budget:
            return
        for key in list(self._packed):
            if self._ram_bytes <= self._budget:
                return
            if key not in self._recent and key not in self._pins:
                self._ram_bytes -= len(self._packed.pop(key))

    def _durable(self, stream: str, block_ids: list[int]) -> None:
        with self._lock:
            for block_id in block_ids:
                self._recent.pop((stream, block_id), None)
            self._evict()

    def _lost(self, stream: str, blocks: list[BlockInfo], why: str) -> None:
        self.drop(stream, [info.block_id for info in blocks])
        self.on_lost(stream, blocks, why)
