"""`Roster`: which streams there are. Those that the configuration names, those added while the daemon ran, and those
that are only remembered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import msgspec

from ..memory.errors import StorageError
from .capture.settings import SourceConfig
from .log import get_logger

_log = get_logger("roster")


class Book(Protocol):
    """Where the roster is kept, durable at once. Knows nothing of what the bytes mean."""

    def streams(self) -> dict[str, bytes]:
        """What was kept of each stream."""

    def keep_stream(self, name: str, value: bytes) -> None:
        """Keeps it, in place of what was kept before."""

    def drop_stream(self, name: str) -> None:
        """Lets go of it; of an unknown name, nothing."""


class KnownStream(msgspec.Struct, frozen=True):
    """A stream that was watched at some time.

    Attributes:
        source: what it was read from last; its time zone is that of the memory.
        watch: it was added while the daemon ran, and is to be watched at the next start too.
    """

    source: SourceConfig
    watch: bool


class Plan(NamedTuple):
    """A stream to open at the start, and whether to watch it."""

    source: SourceConfig
    watched: bool


class Roster:
    """Remembers streams over a restart. Belongs to one thread.

    Args:
        configured: the streams of the configuration file. They are watched at every start, whatever was said before.
        remembered: names of all streams of which the store holds something.
    """

    def __init__(self, book: Book, configured: Mapping[str, SourceConfig], remembered: list[str]) -> None:
        self._book, self._configured = book, configured
        self._known = _read(book)
        for name, source in configured.items():
            try:
                self._keep(name, KnownStream(source, watch=False))
            except StorageError as exc:  # a full disk keeps nobody from starting
                _log.warning("how a stream is watched cannot be kept", stream=name, error=str(exc))
        self.at_start = self._plans(remembered)

    def watch(self, name: str, source: SourceConfig) -> None:
        """Notes that a stream is watched from now on, and after the next start."""
        self._keep(name, KnownStream(source, watch=True))

    def of(self, name: str) -> KnownStream | None:
        """What is known of a stream; None where nothing is."""
        return self._known.get(name)

    def restore(self, name: str, known: KnownStream | None) -> None:
        """What was known before something that failed."""
        try:
            if known is None:
                self.forget(name)
            else:
                self._keep(name, known)
        except StorageError as exc:
            _log.error("how a stream was watched cannot be kept", stream=name, error=str(exc))

    def unwatch(self, name: str) -> None:
        """Notes that a stream is not watched any more; its memory and its time zone stay known."""
        known = self._known.get(name)
        if known is not None:
            self._keep(name, KnownStream(known.source, watch=False))

    def forget(self, name: str) -> None:
        """Lets go of a stream of which nothing is left."""
        if self._known.pop(name, None) is not None:
            self._book.drop_stream(name)

    def _plans(self, remembered: list[str]) -> dict[str, Plan]:
        plans = {name: Plan(source, watched=True) for name, source in self._configured.items()}
        for name, known in self._known.items():
            if name not in plans and (known.watch or name in remembered):
                plans[name] = Plan(known.source, known.watch)
        for name in remembered:  # by a version that kept no roster
            plans.setdefault(name, Plan(SourceConfig(url="-"), watched=False))
        return plans

    def _keep(self, name: str, known: KnownStream) -> None:
        if self._known.get(name) != known:
            self._book.keep_stream(name, msgspec.json.encode(known))
            self._known[name] = known


def _read(book: Book) -> dict[str, KnownStream]:
    known: dict[str, KnownStream] = {}
    for name, value in book.streams().items():
        try:
            known[name] = msgspec.json.decode(value, type=KnownStream)
        except msgspec.MsgspecError as exc:  # another version's key
            _log.error("how a stream was watched cannot be read; add it again to watch it", stream=name, error=str(exc))
    return known
