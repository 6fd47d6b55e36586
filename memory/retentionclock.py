"""`RetentionClock`: whether the time of day can be believed when something is deleted for its age."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Callable
from typing import NamedTuple

from .book import Book
from .errors import StoreUnwritable

_SECOND_NS = 1_000_000_000
_DAY_SECONDS = 86_400.0
_JUMP_SECONDS = 120.0
_KEPT_EVERY_SECONDS = 600.0
_KEPT_UNDER = ("store.clock", "belief")  # a name with a dot is no stream's
_KEPT = struct.Struct(">qqdd")


class Belief(NamedTuple):
    """How far the clock is believed. It is kept in the book, so that a restart does not end a doubt.

    Attributes:
        shown_ns: what the clock showed.
        line_ns: what it would show had it not jumped since it was last believed.
        left_seconds: how long it will still be doubted while it does not jump.
        spent_seconds: how long it has been doubted since it was last believed.
    """

    shown_ns: int
    line_ns: int
    left_seconds: float = 0.0
    spent_seconds: float = 0.0

    @property
    def ahead_seconds(self) -> float:
        """By how much the clock shows more than it would without its jumps."""
        return (self.shown_ns - self.line_ns) / _SECOND_NS


class RetentionClock:
    """The time of day, and for how long it is doubted since it jumped.

    While we run, a jump shows against a clock that only counts, and goes on while the machine sleeps. Over a restart it
    shows as a start that is more than a day after what the clock showed last, or before it. Nobody here can say whether
    the machine was switched off for so long or its clock is wrong. So a jump ahead by N is doubted for N, or for
    `keep_days` if that is less. After N, whatever looks too old is too old by either clock; after `keep_days`, whatever
    was stored before the jump is too old by counting alone. A machine that was really off for 40 days therefore drops
    its old days some weeks late.

    Every jump is doubted for a day at least, but one that takes the clock back to where it was believed ends the doubt.
    A machine that is off more than it runs would doubt for ever; so after `keep_days` and a day of doubt its clock is
    believed, whatever it has done. Only time that was counted counts, not the time while the daemon was down.

    Not thread-safe: one thread uses it.

    Args:
        keep_days: the highest age at which something is deleted or fades.
        newest_stored_ns: when something was last stored before the start, 0 where nothing was. It counts where the
            book says nothing about the clock.
        counter: seconds that only count.
    """

    def __init__(
        self,
        book: Book,
        newest_stored_ns: int,
        keep_days: float,
        wall_ns: Callable[[], int] = time.time_ns,
        counter: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._book, self._wall_ns, self._counter = book, wall_ns, counter
        self._longest = max(keep_days * _DAY_SECONDS, _DAY_SECONDS)
        self._counted, now_ns = counter(), wall_ns()
        last_ns = newest_stored_ns or now_ns
        self._belief = self._begin(_kept(book) or Belief(last_ns, last_ns), now_ns)
        self._keep()

    @property
    def now_ns(self) -> int:
        """The time of day, right or wrong."""
        return self._wall_ns()

    @property
    def counted_seconds(self) -> float:
        """Seconds since some moment. The time of day has no influence."""
        return self._counter()

    @property
    def is_doubtful(self) -> bool:
        """Whether the time of day is not believed now."""
        return self.waits_seconds() > 0

    def waits_seconds(self) -> float:
        """For how long nothing is dropped for its age; 0 where it may be."""
        before = self._belief
        counted, now_ns = self._counter(), self._wall_ns()
        passed, self._counted = counted - self._counted, counted
        line_ns = before.line_ns + round(passed * _SECOND_NS)
        jumped = abs((now_ns - line_ns) / _SECOND_NS - before.ahead_seconds) > _JUMP_SECONDS
        doubted = min(passed, before.left_seconds)
        now = Belief(now_ns, line_ns, before.left_seconds - doubted, before.spent_seconds + doubted)
        self._belief = self._jumped(before, now) if jumped else now if now.left_seconds else Belief(now_ns, now_ns)
        if jumped or counted - self._kept_at >= _KEPT_EVERY_SECONDS:
            self._keep()
        return self._belief.left_seconds

    def _begin(self, last: Belief, now_ns: int) -> Belief:
        """After a restart: nobody has counted, so up to a day may really have passed."""
        down_ns = now_ns - last.shown_ns
        if -_JUMP_SECONDS * _SECOND_NS <= down_ns <= _DAY_SECONDS * _SECOND_NS:
            return last._replace(shown_ns=now_ns, line_ns=last.line_ns + down_ns)
        line_ns = last.line_ns + (round(_DAY_SECONDS) * _SECOND_NS if down_ns > 0 else 0)
        return self._jumped(last, last._replace(shown_ns=now_ns, line_ns=line_ns))

    def _jumped(self, last: Belief, now: Belief) -> Belief:
        away, was_away = abs(now.ahead_seconds), abs(last.ahead_seconds)
        if away <= min(was_away / 2, _DAY_SECONDS):
            return Belief(now.shown_ns, now.shown_ns)  # it is back where it was believed
        doubt = max(_DAY_SECONDS, min(now.ahead_seconds, self._longest))
        return now._replace(left_seconds=max(0.0, min(doubt, self._longest + _DAY_SECONDS - now.spent_seconds)))

    def _keep(self) -> None:
        """Into the book; if it cannot be written, that is tried again in ten minutes."""
        self._kept_at = self._counted
        with contextlib.suppress(StoreUnwritable):
            self._book.keep_note(*_KEPT_UNDER, _KEPT.pack(*self._belief))


def _kept(book: Book) -> Belief | None:
    value = book.note(*_KEPT_UNDER)
    return Belief(*_KEPT.unpack(value)) if len(value) == _KEPT.size else None
