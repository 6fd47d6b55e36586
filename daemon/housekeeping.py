"""`Housekeeping`: the thread that drops, fades and erases days. Neither frames nor answers wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from shutil import disk_usage

from ..memory.book import Erasure
from ..memory.errors import StorageError
from ..memory.fader import Fader
from ..memory.retention import Dropping, Retention, days_to_fade
from ..memory.retentionclock import RetentionClock
from ..memory.settings import FadeStep, MemoryConfig
from ..memory.tiers import Tiers
from .log import get_logger
from .supervised import SupervisedThread

_EVERY_SECONDS = 60.0
_FULL_BYTES = 256 << 20  # with less room than this, the disk may be full before `notice_seconds` are over
_log = get_logger("housekeeping")


class Housekeeping:
    """Looks once a minute for something to do.

    Args:
        watched: returns the names of the streams that are written now; called on any thread.
        on_gone: called with a stream and the block ids that are gone from the disk, on any thread.
    """

    def __init__(
        self,
        config: MemoryConfig,
        tiers: Tiers,
        watched: Callable[[], Collection[str]],
        on_gone: Callable[[str, list[int]], None],
    ) -> None:
        self._config, self._tiers, self._watched, self._on_gone = config, tiers, watched, on_gone
        oldest = max(config.keep_days, *(step.days for step in config.fade), 0)
        self._clock = RetentionClock(tiers.store.book, tiers.store.newest_stored_ns, oldest)
        self._retention = Retention(config, self._clock)
        self._fader = Fader(tiers, self._on_faded)
        self._fading = threading.Lock()  # held while the fader starts or stops
        self._announced: set[tuple[str, str]] = set()
        self._erase_error = self._leftovers = ""  # as they were last logged
        self._stopping = threading.Event()
        self._thread = SupervisedThread("housekeeping", self._run)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.alive

    @property
    def dropping(self) -> tuple[Dropping, ...]:
        """The days that will be dropped soon."""
        return self._retention.dropping

    def start(self) -> None:
        """Starts, or starts again if the thread has died."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread. A day that is being faded stays as it was."""
        self._stopping.set()
        self._fader.stop()
        self._thread.join(30)
        self._fader.stop()

    def erase(self, erasure: Erasure) -> int:
        """Erases from the files what was promised. Returns how many blocks are gone. From any thread.

        Takes as long as writing the days again.

        Raises:
            StorageError: not all could be erased. It is hidden, and tried again every minute.
        """
        log = _log.bind(stream=erasure.stream)
        with self._fading:
            self._fader.stop()  # it does not start again while something is promised
        try:
            gone = self._tiers.store.eraser.carry_out(erasure)
        except StorageError as exc:
            log.error("not erased yet; it is hidden, and tried again every minute", error=str(exc))
            raise
        log.info("forgotten", blocks=len(gone))
        self._on_gone(erasure.stream, gone)
        return len(gone)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._erase_promised()
                self._drop_days()
                self._fade_days()
            except Exception:
                _log.exception("housekeeping failed; tried again in a minute")
            self._stopping.wait(_EVERY_SECONDS)

    def _erase_promised(self) -> None:
        if not self._tiers.store.eraser.pending:
            return
        with self._fading:
            self._fader.stop()
        eraser = self._tiers.store.eraser
        gone, error = eraser.carry_out_rest(), eraser.error
        for stream, ids in gone.items():
            _log.info("forgotten", stream=stream, blocks=len(ids))
            self._on_gone(stream, ids)
        if error and error != self._erase_error:
            _log.error("not erased yet; it is hidden, and tried again every minute", error=error)
        self._erase_error = error

    def _drop_days(self) -> None:
        store = self._tiers.store
        is_full = disk_usage(self._config.folder).free < _FULL_BYTES
        due = self._retention.due(store.days(), self._watched(), disk_is_full=is_full)
        self._announce_drops()
        for stream, day, reason, _ in due:
            with self._fading:
                if self._fader.at == (stream, day):
                    self._fader.stop()
            try:
                gone = store.drop(stream, day)
            except StorageError as exc:
                _log.error("day not dropped", stream=stream, day=day, error=str(exc))
                continue
            _log.info("day forgotten", stream=stream, day=day, blocks=len(gone), reason=reason)
            self._on_gone(stream, gone)
        left, before = store.delete_leftovers(), self._leftovers
        if left and left != before:
            _log.error("a dropped day is not deleted yet; it is hidden, and tried again every minute", error=left)
        self._leftovers = left

    def _announce_drops(self) -> None:
        dropping = self.dropping
        for stream, day, reason, at_ns in dropping:
            if (stream, day) not in self._announced:
                hours = max(0.0, (at_ns - self._clock.now_ns) / 3.6e12)
                _log.warning("day will be forgotten", stream=stream, day=day, reason=reason, in_hours=round(hours, 1))
        self._announced = {(stream, day) for stream, day, *_ in dropping}

    def _fade_days(self) -> None:
        store = self._tiers.store
        if not self._config.fade or self._clock.is_doubtful:
            return
        due = days_to_fade(store.days(), now_ns=self._clock.now_ns, fade=self._config.fade)
        with self._fading:
            if not store.eraser.pending and not self._stopping.is_set():
                self._fader.fade(due)

    def _on_faded(self, stream: str, day: str, step: FadeStep, error: str) -> None:
        log = _log.bind(stream=stream, day=day, codec=step.codec, tokens=step.tokens)
        if error:
            log.error("day not faded", error=error)
        else:
            log.info("day faded")
