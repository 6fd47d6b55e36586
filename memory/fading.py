"""`Fader`: packs old days anew to fewer bits and tokens, one at a time, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from .errors import BlockNotFound, StorageError
from .partition import Partition, Stamp
from .settings import FadeStep
from .tiers import Tiers

Told = Callable[[str, str, FadeStep, str], None]


class Fader:
    """Rests as long as it works, so that capture and answers have the machine.

    Args:
        told: (stream, day, step, what went wrong or empty), after each day, on the fader's thread.
    """

    def __init__(self, tiers: Tiers, told: Told) -> None:
        self._tiers, self._told = tiers, told
        self._faded: dict[Partition, tuple[Stamp, FadeStep]] = {}  # how a day was packed, or was tried to
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._at: tuple[str, str] | None = None

    @property
    def at(self) -> tuple[str, str] | None:
        """The stream and day that are being packed now: they must not be dropped meanwhile."""
        return self._at if self._thread is not None and self._thread.is_alive() else None

    def fade(self, due: Sequence[tuple[str, str, FadeStep]]) -> None:
        """Begins with the first of the days that is not yet packed as it should be. Returns at once.

        Args:
            due: (stream, day, step), as `days_to_fade` gives them.
        """
        if self.at is not None:
            return
        for stream, day, step in due:
            try:
                partition = self._tiers.store.partition(stream, day)
            except BlockNotFound:  # it was dropped meanwhile
                continue
            if self._faded.get(partition) != (partition.stamp, step):
                self._stopping.clear()
                self._at = stream, day
                self._thread = threading.Thread(target=self._run, args=(partition, step), name="fader", daemon=True)
                self._thread.start()
                return

    def stop(self) -> None:
        """Gives up what is being packed; the day stays as it was, until it is due again."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, partition: Partition, step: FadeStep) -> None:
        assert self._at is not None, "a day is being packed"
        (stream, day), error, packed = self._at, "", False
        try:
            packed = self._tiers.fade(stream, partition, step, self._rest())
        except (_Stopped, BlockNotFound):  # or dropped
            return
        except StorageError as exc:
            error = str(exc)
        self._faded[partition] = partition.stamp, step
        if packed or error:
            self._told(stream, day, step, error)

    def _rest(self) -> Callable[[], None]:
        began = time.monotonic()

        def rest() -> None:
            nonlocal began
            if self._stopping.wait(time.monotonic() - began):
                raise _Stopped
            began = time.monotonic()

        return rest


class _Stopped(Exception):
    """The day is wanted for something else, or the daemon ends."""
