"""`Writer`: the thread that commits what waits in a `WriteQueue`, each day of a stream by itself.

A block that can never be written is given up and reported.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from .block import BlockInfo
from .book import Erasure
from .dayname import LAST_NS
from .errors import StorageError, StoreUnwritable
from .rows import Entry
from .writegroup import WriteGroup
from .writequeue import GroupKey, QueueSize, WriteQueue, WriteResult

Write = Callable[[str, str, list[Entry], Mapping[int, int]], None]


class Writer:
    """Thread-safe; begins at once.

    Args:
        write: writes entries and new ends of a day, all or none, and makes them durable.
        room_bytes: what may wait in all.
        commit_seconds, commit_bytes: as in `MemoryConfig`.

    Attributes:
        on_durable: called with (stream, ids) after each commit, on the writer's thread.
        on_lost: called with (stream, blocks, why) when something was given up, on any thread.
        restarts, lost_blocks: how many there were so far.
    """

    def __init__(self, write: Write, *, room_bytes: int, commit_seconds: float, commit_bytes: int) -> None:
        self._write, self._commit_seconds = write, commit_seconds
        self.on_durable: Callable[[str, list[int]], None] = lambda stream, ids: None
        self.on_lost: Callable[[str, list[BlockInfo], str], None] = lambda stream, blocks, why: None
        self._queue = WriteQueue(room_bytes=room_bytes, commit_seconds=commit_seconds, commit_bytes=commit_bytes)
        self._changed = threading.Condition()  # over the queue
        self._closing = False
        self.restarts = self.lost_blocks = 0
        self._start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def queue_size(self) -> QueueSize:
        """What is not durable yet."""
        with self._changed:
            return self._queue.queue_size

    def error(self, stream: str | None = None) -> str:
        """What keeps something from being written now, of one stream or of any; empty where nothing does."""
        with self._changed:
            return self._queue.error(stream)

    def has_room(self, stream: str) -> bool:
        """Whether the stream may put more; some room is always left for others."""
        with self._changed:
            return self._queue.has_room(stream)

    def put(self, stream: str, entry: Entry) -> None:
        """Queues a block."""
        why = _why_never(entry.info)
        if why:
            self._give_up(stream, [entry.info], why)
            return
        with self._changed:
            self._queue.put(stream, entry)
            self._changed.notify_all()

    def extend(self, stream: str, info: BlockInfo, end_ns: int) -> None:
        """Queues a new end time of a block."""
        if not _why_never(info._replace(end_ns=end_ns)):
            with self._changed:
                self._queue.extend(stream, info, end_ns)

    def take_out(self, erasure: Erasure) -> tuple[list[BlockInfo], dict[int, int]]:
        """Removes what an erasure means from the queue.

        What is being written is waited for: it is then on disk, where the erasure finds it.

        Returns:
            those blocks, and the new ends of blocks that may be on disk.
        """
        with self._changed:
            while not self._changed.wait_for(lambda: not self._is_writing(erasure.stream), timeout=1.0):
                pass
            taken = self._queue.take_out(erasure)
            self._changed.notify_all()
            return taken

    def forget_ends(self, stream: str, day: str) -> None:
        """The day was dropped: new ends of its blocks have nowhere to go."""
        with self._changed:
            self._queue.forget_ends(stream, day)
            self._changed.notify_all()

    def flush(self, timeout_seconds: float) -> None:
        """Returns when everything that was put before is durable. It does not wait for what comes later.

        Raises:
            StoreUnwritable: it could not be written in time.
        """
        with self._changed:
            until = self._queue.hurry()
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._queue.is_done(until), timeout_seconds):
                why = self._queue.error() or ("the disk is too slow" if self.alive else "the writer has died")
                raise StoreUnwritable(f"{self._queue.late(until)} blocks could not be written: {why}")

    def supervise(self) -> bool:
        """Starts the thread again where it has died; what it was writing is written again. Returns whether it had."""
        with self._changed:
            if self.alive or self._closing:
                return False
            self.restarts += 1
            self._queue.put_back()
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
            self._queue.check_integrity()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._queue.is_worth_writing, self._commit_seconds)
                if self._closing:
                    return
                due = self._queue.due(time.monotonic())
            for key in due:
                self._commit(key)

    def _commit(self, key: GroupKey) -> None:
        """Writes the oldest of a group, as much as belongs in one commit."""
        with self._changed:
            batch = self._queue.take(key)
        if batch is None:
            return
        results = [self._try(key, batch)]
        if results[0].hopeless:  # something in it can never be written: each by itself shows what
            results = [self._try(key, single) for single in batch.singles()]
        with self._changed:
            self._queue.settle(results, time.monotonic())
            self._changed.notify_all()
        for batch, error, hopeless in results:
            if hopeless:
                self._give_up(key[0], batch.infos, error)
            elif batch.entries and not error:
                self.on_durable(key[0], [info.block_id for info in batch.infos])

    def _try(self, key: GroupKey, batch: WriteGroup) -> WriteResult:
        entries = [entry for _, entry in batch.entries]
        try:
            self._write(*key, entries, {block_id: end.end_ns for block_id, end in batch.ends.items()})
        except (StorageError, OSError, MemoryError) as exc:
            return WriteResult(batch, str(exc) or type(exc).__name__, hopeless=False)
        except Exception as exc:  # whatever it is, it must not end the thread that all streams depend on
            return WriteResult(batch, f"{' '.join(key)}: {type(exc).__name__}: {exc}", hopeless=True)
        return WriteResult(batch, "", hopeless=False)

    def _give_up(self, stream: str, blocks: list[BlockInfo], why: str) -> None:
        if blocks:
            self.lost_blocks += len(blocks)
            self.on_lost(stream, blocks, why)

    def _is_writing(self, stream: str) -> bool:
        if not self.alive:  # then nobody is, and what was being written waits again
            self._queue.put_back()
        return self._queue.is_writing(stream)


def _why_never(info: BlockInfo) -> str:
    """Why no day can hold the block, empty where one can."""
    if 0 <= info.start_ns <= LAST_NS and 0 <= info.end_ns < 2**63:
        return ""
    return f"its time, {info.start_ns} to {info.end_ns} ns, is none between 1970 and 2262"
