"""`RamTier`: packed blocks in RAM. What was used longest ago leaves first, but never what is not durable yet."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from .block import BlockInfo

BlockKey = tuple[str, int]
"""A stream's name and a block's id."""


class UnwrittenBlock(NamedTuple):
    """What the disk does not know yet of a block that is not durable."""

    info: BlockInfo
    picture: bytes


class RamTier:
    """Thread-safe.

    Args:
        ram_bytes: what the blocks may take. Those that are not durable yet stay even where they alone take more.
    """

    def __init__(self, ram_bytes: int) -> None:
        self._budget = ram_bytes
        self._records: OrderedDict[BlockKey, bytes] = OrderedDict()
        self._unwritten: dict[BlockKey, UnwrittenBlock] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def __contains__(self, key: BlockKey) -> bool:
        with self._lock:
            return key in self._records

    def __len__(self) -> int:
        """How many blocks it holds."""
        with self._lock:
            return len(self._records)

    @property
    def size_bytes(self) -> int:
        """What they take."""
        with self._lock:
            return self._bytes

    def add(self, key: BlockKey, record: bytes, block: UnwrittenBlock) -> None:
        """Takes in a new block. It stays until `note_durable` or `drop`."""
        with self._lock:
            self._unwritten[key] = block
            self._put(key, record)

    def keep(self, key: BlockKey, record: bytes) -> None:
        """Keeps a copy of what is on disk, while there is room."""
        with self._lock:
            self._put(key, record)

    def get(self, key: BlockKey) -> bytes | None:
        """A block's record, which now counts as used; None where it is not here."""
        with self._lock:
            record = self._records.get(key)
            if record is not None:
                self._records.move_to_end(key)
            return record

    def unwritten(self, key: BlockKey) -> UnwrittenBlock | None:
        """What is known of a block that is not durable yet; None where it is, or is not here."""
        with self._lock:
            return self._unwritten.get(key)

    def extend(self, key: BlockKey, info: BlockInfo) -> None:
        """Gives a block that is not durable yet another span."""
        with self._lock:
            block = self._unwritten.get(key)
            if block is not None:
                self._unwritten[key] = block._replace(info=info)

    def note_durable(self, keys: Iterable[BlockKey]) -> None:
        """These are on disk: they may leave."""
        with self._lock:
            for key in keys:
                self._unwritten.pop(key, None)
            self._evict()

    def drop(self, keys: Iterable[BlockKey]) -> None:
        """Lets go of forgotten blocks."""
        with self._lock:
            for key in keys:
                self._bytes -= len(self._records.pop(key, b""))
                self._unwritten.pop(key, None)

    def drop_copies(self, keys: Iterable[BlockKey]) -> None:
        """Lets go of blocks whose record on disk is another now. What is not called durable yet stays."""
        with self._lock:
            for key in keys:
                if key not in self._unwritten:
                    self._bytes -= len(self._records.pop(key, b""))

    def check_integrity(self) -> None:
        """Raises AssertionError with the numbers where the books do not balance."""
        with self._lock:
            held = sum(len(record) for record in self._records.values())
            assert held == self._bytes, f"RAM holds {held} bytes, the books say {self._bytes}"
            lost = [key for key in self._unwritten if key not in self._records]
            assert not lost, f"{len(lost)} blocks left RAM before they were durable, first {lost[0]}"
            free = [key for key in self._records if key not in self._unwritten]
            over = held - self._budget
            assert over <= 0 or not free, f"RAM is {over} bytes over its budget with {len(free)} blocks to evict"

    def _put(self, key: BlockKey, record: bytes) -> None:
        self._bytes += len(record) - len(self._records.get(key, b""))
        self._records[key] = record
        self._records.move_to_end(key)
        self._evict()

    def _evict(self) -> None:
        if self._bytes <= self._budget:
            return
        for key in list(self._records):
            if self._bytes <= self._budget:
                return
            if key not in self._unwritten:
                self._bytes -= len(self._records.pop(key))
