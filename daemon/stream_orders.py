"""The orders that streams take: watch one more, stop watching one, forget a time of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..memory.book import Erasure
from .capture.settings import SourceConfig
from .orders import Order
from .protocol import Done, Forget, Forgotten, Reply, StreamsAdd, StreamsRemove
from .stream.inbox import Inbox

Emit = Callable[[Reply], None]


class Streams(Protocol):
    """What the engine does for these orders. All but `at_rest` and `erase` belong to its thread."""

    def watch(self, name: str, config: SourceConfig) -> None:
        """Watches one more stream, now and after every start.

        Raises:
            StreamExists: a stream of this name is watched.
        """

    def unwatch(self, name: str) -> Inbox:
        """Watches a stream no more; whoever called stops what it was read with. Its memory can still be asked.

        Raises:
            StreamUnknown: no stream of this name is watched.
        """

    def at_rest(self, name: str) -> None:
        """What a stream was read with has stopped, and it may be watched again. From any thread."""

    def let_go(self, request: Forget) -> Erasure:
        """Promises for good to erase a time of a stream, watched or not. From here on nothing finds its blocks.

        Raises:
            StreamUnknown: nothing was ever seen by a stream of this name.
            StoreUnwritable: it cannot be promised; nothing is forgotten.
        """

    def erase(self, erasure: Erasure) -> int:
        """Removes blocks from the files. From any thread; takes as long as writing their days anew.

        Returns:
            how many are gone.

        Raises:
            StorageError: not all could be removed yet; it is tried again.
        """


class AddStream(Order):
    """Watches one more stream."""

    def __init__(self, streams: Streams, request: StreamsAdd, config: SourceConfig, emit: Emit) -> None:
        super().__init__(request.request_id, emit)
        self._streams, self._name, self._config = streams, request.name, config

    def run(self) -> None:
        """Opens it."""
        self._streams.watch(self._name, self._config)

    def finish(self) -> Reply:
        """Done."""
        return Done(request_id=self.request_id)


class RemoveStream(Order):
    """Stops watching a stream; its memory stays."""

    long = True  # its capture child is given time to end

    def __init__(self, streams: Streams, request: StreamsRemove, emit: Emit) -> None:
        super().__init__(request.request_id, emit)
        self._streams, self._name = streams, request.name

    def run(self) -> None:
        """Takes it out of the turns."""
        self._inbox = self._streams.unwatch(self._name)

    def finish(self) -> Reply:
        """Stops it."""
        try:
            self._inbox.stop()
        finally:
            self._streams.at_rest(self._name)
        return Done(request_id=self.request_id)


class ForgetTime(Order):
    """Forgets what a stream saw in a time."""

    long = True

    def __init__(self, streams: Streams, request: Forget, emit: Emit) -> None:
        super().__init__(request.request_id, emit)
        self._streams, self._request = streams, request

    def run(self) -> None:
        """Lets go of the blocks, in the index and in RAM."""
        self._erasure = self._streams.let_go(self._request)

    def finish(self) -> Reply:
        """Erases them from the files."""
        return Forgotten(request_id=self.request_id, blocks=self._streams.erase(self._erasure))
