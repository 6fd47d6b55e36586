"""`Streams`: all streams, watched or only remembered, and whose turn it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..memory.block import BlockInfo
from ..memory.book import Erasure
from ..memory.errors import StorageError
from ..memory.tiers import Tiers
from ..retrieval.time.span import Span
from .errors import DeviceFull, StreamUnknown
from .log import get_logger
from .protocol import Forget
from .roster import Roster
from .stream.stream import Stream

_log = get_logger("streams")


class Streams:
    """Belongs to the engine's thread. Other threads may call only what says "from any thread".

    Args:
        on_work: called, from any thread, when there is something to do for the engine.
    """

    def __init__(self, tiers: Tiers, roster: Roster, on_work: Callable[[], None]) -> None:
        self._tiers, self._roster, self._on_work = tiers, roster, on_work
        self._all: dict[str, Stream] = {}  # replaced, never changed in place: other threads read it
        self._turns: deque[Stream] = deque()  # the last one had its turn last
        self._gone: deque[tuple[str, list[int]]] = deque()
        self._lost: deque[tuple[str, list[BlockInfo], str]] = deque()

    @property
    def all(self) -> list[Stream]:
        """Every stream. From any thread."""
        return list(self._all.values())

    @property
    def watched(self) -> list[str]:
        """The names of those that are watched. From any thread."""
        return [stream.name for stream in self.all if stream.watched]

    @property
    def dead(self) -> list[str]:
        """The names of those whose feeder has died. From any thread."""
        return [stream.name for stream in self.all if not stream.alive]

    def get(self, name: str) -> Stream | None:
        """The stream of a name, or None. From any thread."""
        return self._all.get(name)

    def find(self, name: str | None) -> Stream:
        """The stream of a name; without a name the only one, or the only one that is watched. From any thread.

        Raises:
            StreamUnknown: there is no such stream, or without a name more than one.
        """
        streams = self._all
        if name is None:
            watched = [stream for stream in streams.values() if stream.watched]
            found = watched or list(streams.values())
            if len(found) == 1:
                return found[0]
        elif name in streams:
            return streams[name]
        raise self.unknown(name)

    def unknown(self, name: str | None) -> StreamUnknown:
        """The error for a name that means no stream, or none that is watched; it lists those that there are."""
        there = ", ".join(
            stream.name if stream.watched else f"{stream.name} (not watched)" for _, stream in sorted(self._all.items())
        )
        if name is None:
            return StreamUnknown(f"name the stream that you mean; there are: {there or 'none'}")
        if name in self._all:
            return StreamUnknown(f"stream {name} is not watched")
        return StreamUnknown(f"no stream {name}; there are: {there or 'none'}")

    def add(self, stream: Stream) -> None:
        """Takes a stream in; it gets its turns from now on."""
        self._all = {**self._all, stream.name: stream}
        self._turns.append(stream)

    def remove(self, stream: Stream) -> None:
        """Takes a stream out."""
        self._all = {name: other for name, other in self._all.items() if other is not stream}
        self._turns.remove(stream)

    def remove_if_empty(self, stream: Stream) -> None:
        """Takes a stream out for good if it is neither watched nor remembers anything."""
        if not stream.watched and not len(stream.retriever.index):
            self.remove(stream)
            self._roster.forget(stream.name)

    def start(self) -> None:
        """Starts all feeders, or starts again those that have died. From any thread."""
        for stream in self.all:
            stream.start()

    def stop(self) -> None:
        """Stops all sources, side by side. Once the engine's thread has ended."""
        for stream in self.all:
            stream.stop_soon()
        for stream in self.all:
            stream.stop()

    def step(self) -> bool:
        """Gives one step to the next stream in turn that has something to do. Returns whether there was one."""
        for _ in range(len(self._turns)):
            self._turns.rotate(-1)
            stream = self._turns[-1]
            try:
                if stream.watched and stream.step():
                    return True
            except (StorageError, DeviceFull) as exc:
                stream.note_error(str(exc))
        return False

    def keep_index_files(self) -> None:
        """Has index files made for days that have ended or changed."""
        for stream in self.all:
            stream.past_days.update()

    def forget(self, request: Forget) -> Erasure:
        """Promises to erase a time of a stream, watched or not. From here on nothing finds its blocks.

        Raises:
            StreamUnknown: there never was a stream of this name.
            StoreUnwritable: the promise cannot be noted; nothing is forgotten.
        """
        name, store = request.stream, self._tiers.store
        stream = self._all.get(name)
        if stream is None and name not in store.remembered():
            raise self.unknown(name)
        erasure = store.eraser.promise(name, request.since_ns, request.until_ns)
        try:
            if stream is not None:
                infos = stream.retriever.index.infos(Span(request.since_ns, request.until_ns))
                stream.forget_arrivals(erasure.since_ns, erasure.until_ns)
                self._let_go(name, [info.block_id for info in infos if info.block_id <= erasure.last_id])
        except BaseException:
            store.eraser.release(erasure)  # the promise stays: the store carries it out with the others
            raise
        return erasure

    def on_gone(self, name: str, block_ids: list[int]) -> None:
        """Blocks are gone from the disk; `settle` lets go of them. From any thread."""
        self._gone.append((name, block_ids))
        self._on_work()

    def on_lost(self, name: str, blocks: list[BlockInfo], why: str) -> None:
        """Blocks can never be written; `settle` lets go of them. From any thread."""
        _log.error("blocks can never be written and are lost", stream=name, blocks=len(blocks), error=why)
        self._lost.append((name, blocks, why))
        self._on_work()

    def settle(self) -> None:
        """Lets go of the blocks that were dropped or lost since the last call."""
        while self._gone:
            self._let_go(*self._gone.popleft())
        while self._lost:
            name, blocks, why = self._lost.popleft()
            if (stream := self._all.get(name)) is not None:
                stream.lose(blocks, why)

    def _let_go(self, name: str, block_ids: list[int]) -> None:
        self._tiers.drop(name, block_ids)
        if (stream := self._all.get(name)) is not None:
            stream.forget(block_ids)
            self.remove_if_empty(stream)
