"""`WriteQueue`: what waits to be written, in a group for each day of a stream.

A group that could not be written waits longer each time, and all others are written in the meantime. Everything that is
put gets a number that rises, so that one can wait for what was put so far while more is coming. Knows no thread, no
clock and no disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .block import BlockInfo
from .book import Erasure
from .dayname import day_of
from .rows import Entry
from .writegroup import WriteGroup

_LONGEST_WAIT_SECONDS = 5.0
_SHARE = 4  # of what is free
GroupKey = tuple[str, str]


class QueueSize(NamedTuple):
    """What is not durable yet."""

    blocks: int
    bytes: int


class WriteResult(NamedTuple):
    """What came of writing a batch: what went wrong, empty where nothing did, and whether it always will."""

    batch: WriteGroup
    error: str
    hopeless: bool


class WriteQueue:
    """Not thread-safe: the writer holds its lock around each call.

    Args:
        room_bytes: what may wait in all.
        commit_seconds, commit_bytes: as in `MemoryConfig`.
    """

    def __init__(self, *, room_bytes: int, commit_seconds: float, commit_bytes: int) -> None:
        self._room_bytes, self._commit_seconds, self._commit_bytes = room_bytes, commit_seconds, commit_bytes
        self._groups: dict[GroupKey, WriteGroup] = {}
        self._writing: tuple[GroupKey, WriteGroup] | None = None  # taken out of the groups, and not yet durable
        self._bytes: dict[str, int] = {}  # of each stream, those that are being written too
        self._number = self._hurry_to = 0

    @property
    def queue_size(self) -> QueueSize:
        """What is not durable yet, what is being written included."""
        return QueueSize(sum(len(group.entries) for _, group in self._all()), sum(self._bytes.values()))

    @property
    def is_worth_writing(self) -> bool:
        """Whether enough waits for a commit, or somebody waits for it. What waits for its time again does not count."""
        ready = [group for group in self._groups.values() if not group.error or not group.due_at]
        is_urgent = any(group.first is not None and group.first <= self._hurry_to for group in ready)
        return is_urgent or sum(group.size_bytes for group in ready) >= min(self._commit_bytes, self._room_bytes // 2)

    def has_room(self, stream: str) -> bool:
        """Whether the stream may put more: at most four times what is still free, so that some is left for others."""
        free = self._room_bytes - sum(self._bytes.values())
        return self._bytes.get(stream, 0) < _SHARE * free

    def error(self, stream: str | None = None) -> str:
        """What keeps something from being written now, of one stream or of any; empty where nothing does."""
        return next((group.error for (name, _), group in self._all() if stream in (None, name) and group.error), "")

    def put(self, stream: str, entry: Entry) -> None:
        """Adds a block."""
        self._number += 1
        self._group_of(stream, entry.info).entries.append((self._number, entry))
        self._bytes[stream] = self._bytes.get(stream, 0) + entry.size_bytes

    def extend(self, stream: str, info: BlockInfo, end_ns: int) -> None:
        """Adds a new end time of a block."""
        self._number += 1
        self._group_of(stream, info).extend(self._number, info.block_id, end_ns)

    def due(self, now: float) -> list[GroupKey]:
        """The groups whose time has come."""
        return [key for key, group in self._groups.items() if group.due_at <= now]

    def take(self, key: GroupKey) -> WriteGroup | None:
        """As much of a group as belongs in one commit, to be written now: `settle` or `put_back` ends that. None where
        nothing waits."""
        group = self._groups.get(key)
        if group is None or group.first is None:
            self._groups.pop(key, None)
            return None
        batch = group.take(self._commit_bytes)
        self._writing = key, batch
        return batch

    def settle(self, results: Sequence[WriteResult], now: float) -> None:
        """Ends the writing of what was taken. What failed waits again, longer each time; what is hopeless is gone."""
        assert self._writing is not None, "a batch is being written"
        key, batch = self._writing
        group = self._groups.setdefault(key, WriteGroup())
        failed = [result for result in results if result.error and not result.hopeless]
        left = WriteGroup([one for each in failed for one in each.batch.entries])
        for each in failed:
            left.ends |= each.batch.ends
        self._free(key[0], batch.size_bytes - left.size_bytes)
        self._writing = key, left
        self.put_back()
        longer = max(self._commit_seconds, 2 * batch.wait_seconds)
        group.error = failed[0].error if failed else ""
        group.wait_seconds = min(longer, max(self._commit_seconds, _LONGEST_WAIT_SECONDS)) if failed else 0.0
        group.due_at = now + group.wait_seconds if failed else 0.0
        if group.first is None:
            del self._groups[key]

    def put_back(self) -> None:
        """What is being written waits again, as if it had not been taken."""
        if self._writing is not None:
            key, batch = self._writing
            self._groups.setdefault(key, WriteGroup()).put_before(batch)
            self._writing = None

    def is_writing(self, stream: str) -> bool:
        """Whether something of a stream is being written."""
        return self._writing is not None and self._writing[0][0] == stream

    def take_out(self, erasure: Erasure) -> tuple[list[BlockInfo], dict[int, int]]:
        """Removes what an erasure means, of what is not being written.

        Returns:
            those blocks, and the new ends of blocks that may be on disk.
        """
        gone: list[BlockInfo] = []
        ends: dict[int, int] = {}
        for (stream, _), group in self._groups.items():
            if stream == erasure.stream:
                ends.update({block_id: end.end_ns for block_id, end in group.ends.items()})
                before = group.size_bytes
                gone += group.take_out(erasure)
                self._free(stream, before - group.size_bytes)
        return gone, ends

    def forget_ends(self, stream: str, day: str) -> None:
        """The day was dropped: new ends of its blocks have nowhere to go."""
        group = self._groups.get((stream, day))
        if group is not None:
            group.ends.clear()

    def hurry(self) -> int:
        """Everything is due now, also what failed. Returns the number of what was put last, for `late`."""
        self._hurry_to = self._number
        for group in self._groups.values():
            group.due_at = 0.0
        return self._number

    def is_done(self, until: int) -> bool:
        """Whether everything up to a number is durable, or was given up."""
        firsts = (group.first for _, group in self._all())
        return all(first is None or first > until for first in firsts)

    def late(self, until: int) -> int:
        """How many blocks up to a number are not durable yet."""
        return sum(number <= until for _, group in self._all() for number, _ in group.entries)

    def check_integrity(self) -> None:
        """Raises AssertionError with the numbers where the books do not balance."""
        waiting: dict[str, int] = {}
        for (stream, _), group in self._all():
            waiting[stream] = waiting.get(stream, 0) + group.size_bytes
        found = {stream: size for stream, size in waiting.items() if size}
        assert self._bytes == found, f"{found} bytes wait, the books say {self._bytes}"

    def _free(self, stream: str, size: int) -> None:
        self._bytes[stream] = self._bytes.get(stream, 0) - size
        if not self._bytes[stream]:
            del self._bytes[stream]

    def _group_of(self, stream: str, info: BlockInfo) -> WriteGroup:
        return self._groups.setdefault((stream, day_of(info.start_ns)), WriteGroup())

    def _all(self) -> list[tuple[GroupKey, WriteGroup]]:
        return [*self._groups.items(), *([self._writing] if self._writing is not None else [])]
