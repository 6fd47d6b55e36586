"""`Fader`: the thread that fades past days, one at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from .errors import BlockNotFound, StorageError
from .fading import fade_day
from .partition import Partition, PartitionVersion
from .settings import FadeStep
from .tiers import Tiers

OnFaded = Callable[[str, str, FadeStep, str], None]


class Fader:
    """Rests as long as it works, so that capture and answers have the machine.

    Args:
        on_faded: called with (stream, day, step, what went wrong or empty) after each day, on the fader's thread.
    """

    def __init__(self, tiers: Tiers, on_faded: OnFaded) -> None:
        self._tiers, self._on_faded = tiers, on_faded
        self._faded: dict[Partition, tuple[PartitionVersion, FadeStep]] = {}  # the last attempt, and what it left
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._at: tuple[str, str] | None = None

    @property
    def at(self) -> tuple[str, str] | None:
        """The stream and day that are being packed now. Until then the day must not be dropped."""
        return self._at if self._thread is not None and self._thread.is_alive() else None

    def fade(self, due: Sequence[tuple[str, str, FadeStep]]) -> None:
        """Begins with the first day that is not packed as it should be, unless one is being packed. Returns at once.

        Args:
            due: (stream, day, step), as `days_to_fade` gives them.
        """
        if self.at is not None:
            return
        for stream, day, step in due:
            try:
                partition = self._tiers.store.partition(stream, day)
            except BlockNotFound:  # it was just dropped
                continue
            if self._faded.get(partition) != (partition.version, step):
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
            packed = fade_day(self._tiers, stream, partition, step, self._new_pause())
        except (_Stopped, BlockNotFound):  # or dropped
            return
        except StorageError as exc:
            error = str(exc)
        self._faded[partition] = partition.version, step
        if packed or error:
            self._on_faded(stream, day, step, error)

    def _new_pause(self) -> Callable[[], None]:
        """A function that rests as long as has passed since it was last called."""
        began = time.monotonic()

        def rest() -> None:
            nonlocal began
            if self._stopping.wait(time.monotonic() - began):
                raise _Stopped
            began = time.monotonic()

        return rest


class _Stopped(Exception):
    """The day is wanted for something else, or the daemon ends."""
