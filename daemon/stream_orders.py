"""The orders that clients give about streams: watch one more, stop watching one, forget a time of one."""

from __future__ import annotations

from .capture.settings import SourceConfig
from .housekeeping import Housekeeping
from .orders import Order
from .protocol import Done, Forget, Forgotten, Reply, StreamsAdd, StreamsRemove
from .server.service import OnReply
from .streams import Streams
from .watchlist import WatchList


class AddStream(Order):
    """Watches one more stream."""

    def __init__(self, watch_list: WatchList, request: StreamsAdd, config: SourceConfig, on_reply: OnReply) -> None:
        super().__init__(request.request_id, on_reply)
        self._watch_list, self._name, self._config = watch_list, request.name, config

    def run(self) -> None:
        """Opens the stream."""
        self._watch_list.watch(self._name, self._config)

    def finish(self) -> Reply:
        """Nothing is left to do."""
        return Done(request_id=self.request_id)


class RemoveStream(Order):
    """Stops watching a stream. Its memory stays."""

    long = True  # the capture process gets time to end

    def __init__(self, watch_list: WatchList, request: StreamsRemove, on_reply: OnReply) -> None:
        super().__init__(request.request_id, on_reply)
        self._watch_list, self._name = watch_list, request.name

    def run(self) -> None:
        """Takes the source away from the stream."""
        self._inbox = self._watch_list.unwatch(self._name)

    def finish(self) -> Reply:
        """Stops the source."""
        try:
            self._inbox.stop()
        finally:
            self._watch_list.on_stopped(self._name)
        return Done(request_id=self.request_id)


class ForgetTime(Order):
    """Forgets what a stream saw in a time."""

    long = True  # days are written again without what is forgotten

    def __init__(self, streams: Streams, housekeeping: Housekeeping, request: Forget, on_reply: OnReply) -> None:
        super().__init__(request.request_id, on_reply)
        self._streams, self._housekeeping, self._request = streams, housekeeping, request

    def run(self) -> None:
        """Lets go of the blocks, in the index and in RAM."""
        self._erasure = self._streams.forget(self._request)

    def finish(self) -> Reply:
        """Erases the blocks from the files."""
        return Forgotten(request_id=self.request_id, blocks=self._housekeeping.erase(self._erasure))
