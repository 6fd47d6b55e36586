"""`StreamMemory`: one stream's blocks, kept in the tiers and found by the index."""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from ...memory.block import Block, BlockInfo
from ...memory.book import Book
from ...memory.errors import BlockNotFound, CorruptBlock, StorageError
from ...memory.tiers import Tiers
from ...memory.window import Window
from ...retrieval.retrievers.retriever import Retriever
from .past_days import PastDays
from .signatures import Signatures


class StreamMemory:
    """Changes both together, so that a block is kept and can be found, or neither. Belongs to the engine's thread.

    Args:
        retriever: this stream's own; `restore` fills its index.

    Attributes:
        last: the newest block, which a still scene extends; None if there is none, or if it was forgotten.
    """

    def __init__(self, stream: str, tiers: Tiers, retriever: Retriever, signatures: Signatures) -> None:
        self.retriever = retriever
        self.past_days = PastDays(stream, tiers, retriever.index, signatures)
        self.last: BlockInfo | None = None
        self._stream, self._tiers = stream, tiers

    def restore(self) -> None:
        """Fills the index from what the store holds.

        Raises:
            FingerprintMismatch: the store holds this stream as another model saw it.
        """
        self.past_days.restore()

    def fill(self, window: Window) -> None:
        """Puts the newest blocks into an empty window: as many as fit, and the very newest in any case.

        Raises:
            StorageError: a block cannot be read now, though it is not damaged.
        """
        index, room, fitting = self.retriever.index, window.window_tokens, list[Block]()
        for info in reversed(index.newest(max(room, 1))):
            room -= info.tokens
            if room < 0 and fitting:
                break
            try:
                fitting += self._tiers.fetch(self._stream, [info.block_id])
            except (CorruptBlock, BlockNotFound):
                index.forget([info.block_id])
        for block in reversed(fitting):
            window.append(block.block_id, block.keys, block.values, block.places)

    @property
    def newest(self) -> BlockInfo | None:
        """The newest block that is not forgotten; None if there is none. From any thread."""
        newest = self.retriever.index.newest(1)
        return newest[0] if newest else None

    def find_last(self) -> None:
        """Takes the newest block for `last`, also if one that was newer was forgotten."""
        self.last = self.newest

    def next_id(self) -> int:
        """An id for a new block.

        Raises:
            StoreUnwritable: the store cannot promise one; `has_room` says so before.
        """
        return self._tiers.store.next_id(self._stream)

    def add(self, block: Block) -> Block:
        """Keeps a new block. Returns it as the memory will give it back: packing rounds its keys and values.

        Raises:
            CodecError: it cannot be packed; then it is neither kept nor found.
        """
        parts = self.retriever.index.cut(block.signature)  # first, since it may fail
        block = self._tiers.spill(self._stream, block)
        self.retriever.index.add(block.info, parts)
        self.last = block.info
        return block

    def extend_scene(self, end_ns: int) -> None:
        """The newest block's scene still holds, at least until `end_ns`."""
        if self.last is not None and not self.last.gap and end_ns > self.last.end_ns:
            self._extend(self.last, end_ns)

    def extend_gap(self, start_ns: int, end_ns: int) -> bool:
        """The newest block is a gap up to `start_ns`, and goes on until `end_ns`. Returns whether this is so."""
        last = self.last
        if last is None or not last.gap or last.end_ns != start_ns:
            return False
        self._extend(last, end_ns)
        return True

    def forget(self, block_ids: Collection[int]) -> None:
        """These blocks are found no more. The store drops them by itself."""
        self.retriever.index.forget(block_ids)
        if self.last is not None and self.last.block_id in block_ids:
            self.last = None

    @property
    def book(self) -> Book:
        """What the store must know at the next start."""
        return self._tiers.store.book

    @property
    def has_room(self) -> bool:
        """Whether the store can take more blocks now."""
        return self._tiers.store.has_room(self._stream)

    @property
    def trouble(self) -> str:
        """Why the store can take no more blocks."""
        return self._tiers.store.trouble(self._stream) or "the disk is too slow"

    @property
    def durable_id(self) -> int:
        """The newest block that is on disk; 0 if there is none."""
        return self._tiers.store.last_id(self._stream)

    @property
    def forgotten_ns(self) -> int:
        """The newest time that was seen and forgotten; 0 if there is none."""
        return self.book.seen_ns(self._stream)

    def note_forgotten(self, time_ns: int) -> None:
        """A frame of a recording was read and is forgotten, so that no start reads it again."""
        with contextlib.suppress(StorageError):  # then the next start may read it again
            self.book.note_seen(self._stream, time_ns)

    def _extend(self, last: BlockInfo, end_ns: int) -> None:
        self._tiers.extend(self._stream, last, end_ns)
        self.retriever.index.extend(last, end_ns)
        self.last = last._replace(end_ns=end_ns)
