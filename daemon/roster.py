"""`Roster`: remembers which streams there are: those of the configuration, those added later, those only remembered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import msgspec

from ..memory.errors import StorageError
from .capture.settings import SourceConfig
from .log import get_logger

_log = get_logger("roster")


class Book(Protocol):
    """Where the roster is kept. A write is durable at once. The book does not know what the bytes mean."""

    def streams(self) -> dict[str, bytes]:
        """What is kept about each stream."""

    def keep_stream(self, name: str, value: bytes) -> None:
        """Keeps something about a stream, in place of what was kept before."""

    def drop_stream(self, name: str) -> None:
        """Forgets a stream. If the name is not known, does nothing."""


class KnownStream(msgspec.Struct, frozen=True):
    """A stream that was watched at some time.

    Attributes:
        source: what it was last read from. Its time zone is that of the memory.
        watch: it was added while the daemon ran, and the next start is to watch it too.
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
        configured: the streams of the configuration file. They are watched at every start, whatever was ordered before.
        remembered: the names of all streams of which the store holds something.

    Attributes:
        at_start: the streams to open at the start, by name.
    """

    def __init__(self, book: Book, configured: Mapping[str, SourceConfig], remembered: list[str]) -> None:
        self._book, self.configured = book, configured
        self._known = _read(book)
        for name, source in configured.items():
            try:
                self._keep(name, KnownStream(source, watch=False))
            except StorageError as exc:  # a full disk does not prevent the start
                _log.warning("the settings of a stream cannot be kept", stream=name, error=str(exc))
        self.at_start = self._plans(remembered)

    def watch(self, name: str, source: SourceConfig) -> None:
        """Notes that a stream is watched from now on, and after the next start."""
        self._keep(name, KnownStream(source, watch=True))

    def of(self, name: str) -> KnownStream | None:
        """What is known about a stream; None if nothing is."""
        return self._known.get(name)

    def restore(self, name: str, known: KnownStream | None) -> None:
        """Notes again what was known before something failed."""
        try:
            if known is None:
                self.forget(name)
            else:
                self._keep(name, known)
        except StorageError as exc:
            _log.error("the settings of a stream cannot be kept", stream=name, error=str(exc))

    def unwatch(self, name: str) -> None:
        """Notes that a stream is not watched any more. Its source and time zone stay known."""
        known = self._known.get(name)
        if known is not None:
            self._keep(name, KnownStream(known.source, watch=False))

    def forget(self, name: str) -> None:
        """Forgets a stream of which nothing is left."""
        if self._known.pop(name, None) is not None:
            self._book.drop_stream(name)

    def _plans(self, remembered: list[str]) -> dict[str, Plan]:
        plans = {name: Plan(source, watched=True) for name, source in self.configured.items()}
        for name, known in self._known.items():
            if name not in plans and (known.watch or name in remembered):
                plans[name] = Plan(known.source, known.watch)
        for name in remembered:  # stored by a version that kept no roster
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
            _log.error("the settings of a stream cannot be read; add it again to watch it", stream=name, error=str(exc))
    return known
