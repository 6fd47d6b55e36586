"""`WriteGroup`: the blocks and new ends that wait for one day of a stream, in the order in which they came."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import NamedTuple

from .block import BlockInfo
from .book import Erasure
from .rows import Entry


class NewEnd(NamedTuple):
    """The newest end of a block's scene, and the number of the call that first gave one."""

    number: int
    end_ns: int


@dataclass
class WriteGroup:
    """What waits for one day of a stream."""

    entries: list[tuple[int, Entry]] = field(default_factory=list)
    ends: dict[int, NewEnd] = field(default_factory=dict)
    error: str = ""
    wait_seconds: float = 0.0
    due_at: float = 0.0

    @property
    def first(self) -> int | None:
        """The lowest number in it; None where it is empty."""
        numbers = [end.number for end in self.ends.values()]
        return min([*numbers, *(number for number, _ in self.entries[:1])], default=None)

    @property
    def size_bytes(self) -> int:
        """What its blocks take of the memory."""
        return sum(entry.size_bytes for _, entry in self.entries)

    @property
    def infos(self) -> list[BlockInfo]:
        """The spans of its blocks."""
        return [entry.info for _, entry in self.entries]

    def singles(self) -> list[WriteGroup]:
        """Each block and each new end as a group of its own."""
        return [
            *(WriteGroup([entry]) for entry in self.entries),
            *(WriteGroup(ends={block_id: end}) for block_id, end in self.ends.items()),
        ]

    def extend(self, number: int, block_id: int, end_ns: int) -> None:
        """Adds a new end of a block. Of two the later counts, and it waits since the first."""
        before = self.ends.get(block_id)
        self.ends[block_id] = NewEnd(number if before is None else before.number, end_ns)

    def take(self, most_bytes: int) -> WriteGroup:
        """Takes its oldest blocks out, at least one. The new ends come with the last block: they may be of any."""
        sizes = itertools.accumulate(entry.size_bytes for _, entry in self.entries)
        count = sum(size < most_bytes for size in sizes) + 1
        batch = WriteGroup(self.entries[:count], error=self.error, wait_seconds=self.wait_seconds)
        del self.entries[:count]
        if not self.entries:
            batch.ends, self.ends = self.ends, {}
        return batch

    def put_before(self, batch: WriteGroup) -> None:
        """What was taken out waits again, before what came later. Of two new ends of a block the later counts."""
        self.entries[:0] = batch.entries
        for block_id, end in batch.ends.items():
            later = self.ends.get(block_id, end)
            self.ends[block_id] = NewEnd(end.number, later.end_ns)

    def take_out(self, erasure: Erasure) -> list[BlockInfo]:
        """Takes out the blocks that an erasure means. Returns their spans, with their new ends."""
        gone, kept = [], []
        for number, entry in self.entries:
            later = self.ends.get(entry.info.block_id)
            info = entry.info if later is None else entry.info._replace(end_ns=later.end_ns)
            if erasure.covers(info.block_id, info.start_ns, max(entry.info.end_ns, info.end_ns)):
                gone.append(info)
                self.ends.pop(info.block_id, None)
            else:
                kept.append((number, entry))
        self.entries = kept
        return gone
