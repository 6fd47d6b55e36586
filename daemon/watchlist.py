"""`WatchList`: begins and ends to watch streams, so that the next start does the same."""

from __future__ import annotations

from collections.abc import Callable

from ..memory.errors import StorageError
from .capture.settings import SourceConfig
from .errors import DaemonError, StreamExists
from .log import get_logger
from .roster import Plan, Roster
from .stream.inbox import Inbox
from .stream.stream import Stream
from .streams import Streams

_log = get_logger("streams")


class WatchList:
    """Belongs to the engine's thread.

    Args:
        make: makes a stream of a name, its source, and whether it is watched.
    """

    def __init__(self, streams: Streams, roster: Roster, make: Callable[[str, SourceConfig, bool], Stream]) -> None:
        self._streams, self._roster, self._make = streams, roster, make
        self._stopping: set[str] = set()  # not watched any more, but their source has not ended yet

    def open_all(self) -> None:
        """Opens, at the start, all streams that are configured, were watched, or are remembered.

        Raises:
            DaemonError, StorageError: a stream of the configuration file cannot be opened. Any other that cannot be
                watched is then only remembered.
        """
        for name, plan in self._roster.at_start.items():
            try:
                self._streams.add(self._make(name, plan.source, plan.watched))
            except (DaemonError, StorageError) as exc:
                if name in self._roster.configured:
                    raise
                _log.error("a stream cannot be watched as before; add it again", stream=name, error=str(exc))
                self._open_unwatched(name, plan)

    def watch(self, name: str, config: SourceConfig) -> None:
        """Watches one more stream, from now on and after every start. If that fails, nothing has changed.

        Raises:
            StreamExists: a stream of this name is watched, or is still being stopped.
            DaemonError, StorageError: it cannot be opened, or the store cannot note that it is watched.
        """
        known = self._streams.get(name)
        if known is not None and known.watched:
            raise StreamExists(f"a stream {name} is there already; remove it first, or choose another name")
        if name in self._stopping:
            raise StreamExists(f"the stream {name} is still being stopped; try again in a moment")
        before = self._roster.of(name)
        self._roster.watch(name, config)  # first: if that fails, the stream is not watched
        try:
            if known is None:
                self._open(name, config)
            else:
                known.watch(config)
        except BaseException:
            self._roster.restore(name, before)
            raise

    def unwatch(self, name: str) -> Inbox:
        """Watches a stream no more; its memory can still be asked.

        Returns:
            what it was read with. The caller stops it, on any thread, and then calls `on_stopped`.

        Raises:
            StreamUnknown: no stream of this name is watched.
            StorageError: the store cannot note it; the stream is still watched.
        """
        stream = self._streams.get(name)
        if stream is None or not stream.watched:
            raise self._streams.unknown(name)
        self._roster.unwatch(name)
        inbox = stream.unwatch()
        self._stopping.add(name)
        self._streams.remove_if_empty(stream)
        return inbox

    def on_stopped(self, name: str) -> None:
        """The source of a stream that is watched no more has ended: it may be watched again. From any thread."""
        self._stopping.discard(name)

    def _open(self, name: str, config: SourceConfig) -> None:
        stream = self._make(name, config, True)
        self._streams.add(stream)
        try:
            stream.start()
        except BaseException:
            stream.stop_soon()
            self._streams.remove(stream)
            raise

    def _open_unwatched(self, name: str, plan: Plan) -> None:
        try:
            self._streams.add(self._make(name, SourceConfig(url=plan.source.url), False))
        except StorageError as exc:
            _log.error("a stream cannot be opened; its memory stays as it is", stream=name, error=str(exc))
