"""`Writer`: the thread that commits blocks, each day of a stream by itself.

What waits is kept in groups, one for each (stream, day). A group that cannot be written waits longer each time, and all
others are written meanwhile. Everything that is put has a number that rises, so that `flush` knows what it waits for
while more is coming. A block that can never be written is given up and reported.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .block import BlockInfo
from .book import Erasure
from .errors import StorageError, StoreUnwritable
from .folder import LAST_NS, day_of
from .partition import Entry

_LONGEST_WAIT_SECONDS = 5.0
_SHARE = 4  # of what is free
Write = Callable[[str, str, list[Entry], Mapping[int, int]], None]
GroupKey = tuple[str, str]


class NewEnd(NamedTuple):
    """How long a block's scene has held by now, and the number of the call that said so first."""

    number: int
    end_ns: int


@dataclass
class _Group:
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


class _Outcome(NamedTuple):
    """What came of writing a batch: what went wrong, empty where nothing did, and whether it always will."""

    batch: _Group
    error: str
    hopeless: bool


class Writer:
    """Thread-safe; begins at once.

    Args:
        write: writes entries and new ends of a day, all or none, and makes them durable.
        room_bytes: what may wait in all.
        commit_seconds, commit_bytes: as in `MemoryConfig`.

    Attributes:
        on_durable: told (stream, ids) after each commit, on the writer's thread.
        on_lost: told (stream, blocks, why) of what was given up, on any thread.
    """

    def __init__(self, write: Write, *, room_bytes: int, commit_seconds: float, commit_bytes: int) -> None:
        self._write, self._room_bytes = write, room_bytes
        self._commit_seconds, self._commit_bytes = commit_seconds, commit_bytes
        self.on_durable: Callable[[str, list[int]], None] = lambda stream, ids: None
        self.on_lost: Callable[[str, list[BlockInfo], str], None] = lambda stream, blocks, why: None
        self._groups: dict[GroupKey, _Group] = {}
        self._writing: tuple[GroupKey, _Group] | None = None  # taken out of the groups, and not yet durable
        self._bytes: dict[str, int] = {}
        self._number, self._flush_to = 0, 0
        self._closing = False
        self._changed = threading.Condition()
        self.commits = self.restarts = self.lost_blocks = 0
        self._start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def error(self) -> str:
        """What keeps something from being written now, empty where nothing does."""
        with self._changed:
            return next((group.error for _, group in self._all() if group.error), "")

    def error_of(self, stream: str) -> str:
        """The same, of one stream."""
        with self._changed:
            return next((group.error for (name, _), group in self._all() if name == stream and group.error), "")

    @property
    def waiting(self) -> tuple[int, int]:
        """Blocks and bytes that are not durable yet."""
        with self._changed:
            return sum(len(group.entries) for _, group in self._all()), sum(self._bytes.values())

    def has_room(self, stream: str) -> bool:
        """Whether the stream may put more: at most four times what is still free, so that some is left for others."""
        with self._changed:
            free = self._room_bytes - sum(self._bytes.values())
            return self._bytes.get(stream, 0) < _SHARE * free

    def put(self, stream: str, entry: Entry) -> None:
        """Queues a block."""
        with self._changed:
            why = _why_never(entry.info)
            if not why:
                self._number += 1
                self._group(stream, entry.info).entries.append((self._number, entry))
                self._bytes[stream] = self._bytes.get(stream, 0) + entry.size_bytes
                self._changed.notify_all()
        if why:
            self._give_up(stream, [entry.info], why)

    def extend(self, stream: str, info: BlockInfo, end_ns: int) -> None:
        """Queues a new end time of a block."""
        if _why_never(info._replace(end_ns=end_ns)):
            return
        with self._changed:
            self._number += 1
            ends = self._group(stream, info).ends
            before = ends.get(info.block_id)
            ends[info.block_id] = NewEnd(self._number if before is None else before.number, end_ns)

    def take_out(self, erasure: Erasure) -> tuple[list[BlockInfo], dict[int, int]]:
        """Removes what an erasure means from the queue, once what is being written is written.

        Returns:
            those blocks, and the new ends of blocks that may be on disk.
        """
        with self._changed:
            while not self._changed.wait_for(lambda: not self._is_writing(erasure.stream), timeout=1.0):
                pass
            gone: list[BlockInfo] = []
            ends: dict[int, int] = {}
            for (stream, _), group in self._groups.items():
                if stream == erasure.stream:
                    ends.update({block_id: end.end_ns for block_id, end in group.ends.items()})
                    gone += self._take_from(stream, group, erasure)
            self._changed.notify_all()
            return gone, ends

    def forget_ends(self, stream: str, day: str) -> None:
        """The day was dropped: new ends of its blocks have nowhere to go."""
        with self._changed:
            group = self._groups.get((stream, day))
            if group is not None:
                group.ends.clear()
            self._changed.notify_all()

    def flush(self, timeout_seconds: float) -> None:
        """Returns when everything that was put before is durable, whatever comes meanwhile.

        Raises:
            StoreUnwritable: it could not be written in time.
        """
        with self._changed:
            until = self._number
            self._flush_to = max(self._flush_to, until)
            for group in self._groups.values():
                group.due_at = 0.0
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._done(until), timeout_seconds):
                late = sum(number <= until for _, group in self._all() for number, _ in group.entries)
                why = next((group.error for _, group in self._all() if group.error), "")
                why = why or ("the disk is too slow" if self.alive else "the writer has died")
                raise StoreUnwritable(f"{late} blocks could not be written: {why}")

    def supervise(self) -> bool:
        """Starts the thread again where it has died; what it was writing is written again. Returns whether it had."""
        with self._changed:
            if self.alive or self._closing:
                return False
            self.restarts += 1
            self._put_back()
            self._start()
            return True

    def close(self) -> None:
        """Ends the thread; what still waits is lost, so flush first."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout=10)

    def check_integrity(self) -> None:
        """Raises AssertionError with the numbers where the books do not balance."""
        with self._changed:
            waiting: dict[str, int] = {}
            for (stream, _), group in self._all():
                waiting[stream] = waiting.get(stream, 0) + sum(entry.size_bytes for _, entry in group.entries)
            found = {stream: size for stream, size in waiting.items() if size}
            assert self._bytes == found, f"{found} bytes wait, the books say {self._bytes}"

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._worth_writing, self._commit_seconds)
                if self._closing:
                    return
                due = [key for key, group in self._groups.items() if group.due_at <= time.monotonic()]
            for key in due:
                self._commit(key)

    def _worth_writing(self) -> bool:
        enough = min(self._commit_bytes, self._room_bytes // 2)
        waiting = [group for group in self._groups.values() if not group.error or not group.due_at]
        in_a_hurry = any(group.first is not None and group.first <= self._flush_to for group in waiting)
        return self._closing or in_a_hurry or sum(self._size(group) for group in waiting) >= enough

    def _commit(self, key: GroupKey) -> None:
        """Writes the oldest of a group, as much as belongs in one commit."""
        with self._changed:
            batch = self._take(key)
            if batch is None:
                return
            self._writing = key, batch
        outcomes = [self._try(key, batch)]
        if outcomes[0].hopeless:  # one of them cannot be written, ever: each by itself shows which
            outcomes = [self._try(key, single) for single in _singles(batch)]
        self._settle(key, outcomes)
        for batch, error, hopeless in outcomes:
            blocks = [entry.info for _, entry in batch.entries]
            if hopeless and blocks:
                self._give_up(key[0], blocks, error)
            elif blocks and not error:
                self.on_durable(key[0], [info.block_id for info in blocks])

    def _try(self, key: GroupKey, batch: _Group) -> _Outcome:
        entries = [entry for _, entry in batch.entries]
        try:
            self._write(*key, entries, {block_id: end.end_ns for block_id, end in batch.ends.items()})
        except (StorageError, OSError, MemoryError) as exc:
            return _Outcome(batch, str(exc) or type(exc).__name__, hopeless=False)
        except Exception as exc:  # whatever it is, it must not end the thread that all streams depend on
            return _Outcome(batch, f"{' '.join(key)}: {type(exc).__name__}: {exc}", hopeless=True)
        return _Outcome(batch, "", hopeless=False)

    def _take(self, key: GroupKey) -> _Group | None:
        """The oldest of a group; its new ends once all of its blocks are among them. None where it is empty."""
        group = self._groups.get(key)
        if group is None or group.first is None:
            self._groups.pop(key, None)
            return None
        sizes = itertools.accumulate(entry.size_bytes for _, entry in group.entries)
        count = sum(size < self._commit_bytes for size in sizes) + 1
        batch = _Group(group.entries[:count], error=group.error, wait_seconds=group.wait_seconds)
        del group.entries[:count]
        if not group.entries:
            batch.ends, group.ends = group.ends, {}
        return batch

    def _settle(self, key: GroupKey, outcomes: list[_Outcome]) -> None:
        """Notes what came of a commit: what failed waits again, and longer each time."""
        with self._changed:
            assert self._writing is not None, "a batch is being written"
            batch, group = self._writing[1], self._groups.setdefault(key, _Group())
            failed = [outcome for outcome in outcomes if outcome.error and not outcome.hopeless]
            left = _Group([one for each in failed for one in each.batch.entries])
            for each in failed:
                left.ends |= each.batch.ends
            self._free(key[0], self._size(batch) - self._size(left))
            self._writing = key, left
            self._put_back()
            self.commits += not failed
            group.error = failed[0].error if failed else ""
            longer = max(self._commit_seconds, 2 * batch.wait_seconds)
            group.wait_seconds = min(longer, max(self._commit_seconds, _LONGEST_WAIT_SECONDS)) if failed else 0.0
            group.due_at = time.monotonic() + group.wait_seconds if failed else 0.0
            if group.first is None:
                del self._groups[key]
            self._changed.notify_all()

    def _put_back(self) -> None:
        """What was being written waits again, before what came later."""
        if self._writing is not None:
            key, batch = self._writing
            group = self._groups.setdefault(key, _Group())
            group.entries[:0] = batch.entries
            for block_id, end in batch.ends.items():
                later = group.ends.get(block_id, end)
                group.ends[block_id] = NewEnd(end.number, later.end_ns)
            self._writing = None

    def _give_up(self, stream: str, blocks: list[BlockInfo], why: str) -> None:
        if blocks:
            self.lost_blocks += len(blocks)
            self.on_lost(stream, blocks, why)

    def _take_from(self, stream: str, group: _Group, erasure: Erasure) -> list[BlockInfo]:
        gone, kept = [], []
        for number, entry in group.entries:
            block_id, start_ns, end_ns, *_ = entry.info
            later = group.ends.get(block_id)
            if erasure.covers(block_id, start_ns, end_ns if later is None else max(end_ns, later.end_ns)):
                gone.append(entry.info if later is None else entry.info._replace(end_ns=later.end_ns))
                group.ends.pop(block_id, None)
                self._free(stream, entry.size_bytes)
            else:
                kept.append((number, entry))
        group.entries = kept
        return gone

    def _free(self, stream: str, size: int) -> None:
        self._bytes[stream] = self._bytes.get(stream, 0) - size
        if not self._bytes[stream]:
            del self._bytes[stream]

    def _group(self, stream: str, info: BlockInfo) -> _Group:
        return self._groups.setdefault((stream, day_of(info.start_ns)), _Group())

    def _is_writing(self, stream: str) -> bool:
        if not self.alive:
            self._put_back()
        return self._writing is not None and self._writing[0][0] == stream

    def _all(self) -> list[tuple[GroupKey, _Group]]:
        return [*self._groups.items(), *([self._writing] if self._writing is not None else [])]

    def _done(self, until: int) -> bool:
        firsts = (group.first for _, group in self._all())
        return all(first is None or first > until for first in firsts)

    @staticmethod
    def _size(group: _Group) -> int:
        return sum(entry.size_bytes for _, entry in group.entries)


def _singles(batch: _Group) -> list[_Group]:
    return [
        *(_Group([entry]) for entry in batch.entries),
        *(_Group(ends={block_id: end}) for block_id, end in batch.ends.items()),
    ]


def _why_never(info: BlockInfo) -> str:
    """Why no day can hold the block, empty where one can."""
    if 0 <= info.start_ns <= LAST_NS and 0 <= info.end_ns < 2**63:
        return ""
    return f"its time, {info.start_ns} to {info.end_ns} ns, is none between 1970 and 2262"
