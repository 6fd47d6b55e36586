"""What fades and what is forgotten, by age and by bytes: whole days of a stream, never the one that is written now.

Nothing is deleted on a clock's word alone. A day is too old once both its date and the time when it was last written
to lie far enough back, so that an old recording is not dropped while it is read. And age counts only while the clock
has shown itself to be right: see `RetentionClock`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from operator import attrgetter
from typing import NamedTuple

from .folder import day_span
from .settings import FadeStep, MemoryConfig

_SECOND_NS = 1_000_000_000
_DAY_NS = 86_400 * _SECOND_NS
_AFTER_START_SECONDS = 600.0  # in which nothing is dropped for its age
_NOTICE_NS = 600 * _SECOND_NS  # a day is named so long before it is dropped for its age
_AFTER_JUMP_SECONDS = 86_400.0
_JUMP_SECONDS = 120.0
_FORESIGHT_NS = _DAY_NS


class Day(NamedTuple):
    """A day of a stream, what its files take on the disk, and what of that holds something.

    Attributes:
        stored_ns: when it was last written to, by the clock of then.
        last_id: the highest id in it; the day with the highest of its stream is the one that is written now.
    """

    stream: str
    day: str
    disk_bytes: int
    content_bytes: int
    stored_ns: int = 0
    last_id: int = 0


class Limit(NamedTuple):
    """Bytes above which days are dropped, until no more than `low` are taken."""

    high: int
    low: int

    @classmethod
    def of(cls, high: int, low_water: float) -> Limit | None:
        """None where there is no limit (0)."""
        return cls(high, int(high * low_water)) if high else None


class Dropping(NamedTuple):
    """A day that will be dropped, why, and when at the earliest."""

    stream: str
    day: str
    reason: str
    at_ns: int


_DISK, _CONTENT = attrgetter("disk_bytes"), attrgetter("content_bytes")


def too_old_at_ns(day: Day, keep_days: float) -> int:
    """When a day will be too old: so long after its end, and after it was last written to."""
    return max(day_span(day.day)[1], day.stored_ns) + round(keep_days * _DAY_NS)


def over_limit(
    days: Sequence[Day], *, disk: Limit | None, content: Limit | None, watched: Collection[str] | None = None
) -> list[tuple[Day, str]]:
    """The days to drop now since all together take too much, oldest first, and which limit each is dropped for.

    Args:
        watched: streams whose newest day is still written, and so stays; None means all.
    """
    dropped: dict[Day, str] = {}
    past = _past(days, watched)
    for limit, size, key in ((disk, _DISK, "disk_bytes"), (content, _CONTENT, "content_bytes")):
        taken = sum(size(day) for day in days if day not in dropped)
        if limit is None or taken <= limit.high:
            continue
        reason = f"memory.{key}: {taken} bytes of {limit.high} are taken"
        for day in (day for day in past if day not in dropped):
            if taken <= limit.low:
                break
            dropped[day] = reason
            taken -= size(day)
    return [(day, dropped[day]) for day in past if day in dropped]


def too_old(
    days: Sequence[Day], *, now_ns: int, keep_days: float, watched: Collection[str] | None = None
) -> list[Dropping]:
    """The days that are too old or will be within a day, oldest first; 0 keeps for ever."""
    if not keep_days:
        return []
    dropping = [
        Dropping(day.stream, day.day, f"memory.keep_days: older than {keep_days:g} days", too_old_at_ns(day, keep_days))
        for day in _past(days, watched)
    ]
    return [each for each in dropping if each.at_ns <= now_ns + _FORESIGHT_NS]


def days_to_fade(days: Sequence[Day], *, now_ns: int, fade: Sequence[FadeStep]) -> list[tuple[str, str, FadeStep]]:
    """(stream, day, step) of every past day that should be packed so by then, oldest first; some may be already."""
    due: list[tuple[str, str, FadeStep]] = []
    for day in _past(days, None):
        reached = [step for step in fade if now_ns > too_old_at_ns(day, step.days)]
        if reached:
            due.append((day.stream, day.day, max(reached, key=lambda step: step.days)))
    return due


class RetentionClock:
    """Whether the time of day may be believed when something is deleted for its age.

    Not in the first ten minutes. Not for a day where it jumped against the clock that only counts: then, or while the
    daemon was down: it starts more than a day later than anything was stored. Either may be true; a day's wait costs
    little, and a wrong clock costs the memory.

    Args:
        newest_stored_ns: when something was last stored before the start; 0 where nothing was.
    """

    def __init__(
        self,
        newest_stored_ns: int,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall_ns, self._monotonic = wall_ns, monotonic
        self._began = self._doubtful_until = monotonic()
        self._ahead = self._difference()
        if newest_stored_ns and wall_ns() > newest_stored_ns + _DAY_NS:
            self._doubtful_until += _AFTER_JUMP_SECONDS

    @property
    def now_ns(self) -> int:
        """The time of day, right or wrong."""
        return self._wall_ns()

    @property
    def is_doubtful(self) -> bool:
        """Whether it jumped within a day."""
        return self._doubt() > 0

    def waits_seconds(self) -> float:
        """For how long nothing is dropped for its age; 0 where it may be."""
        return max(0.0, self._doubt(), self._began + _AFTER_START_SECONDS - self._monotonic())

    def _doubt(self) -> float:
        before, self._ahead = self._ahead, self._difference()
        if abs(self._ahead - before) > _JUMP_SECONDS:
            self._doubtful_until = self._monotonic() + _AFTER_JUMP_SECONDS
        return self._doubtful_until - self._monotonic()

    def _difference(self) -> float:
        return self._wall_ns() / _SECOND_NS - self._monotonic()


class Retention:
    """Which days are to be dropped now, and which are named because they soon will be.

    Attributes:
        dropping: what will be dropped, why and when, as it was last found; may be read on any thread.
    """

    def __init__(self, config: MemoryConfig, clock: RetentionClock) -> None:
        self._config, self._clock = config, clock
        self._named_ns: dict[tuple[str, str], int] = {}
        self.dropping: tuple[Dropping, ...] = ()

    def due(self, days: Sequence[Day], watched: Collection[str]) -> list[Dropping]:
        """The days to drop now, oldest first. Those that go for their age were named at least ten minutes before."""
        memory, now_ns = self._config, self._clock.now_ns
        waits_ns = round(self._clock.waits_seconds() * _SECOND_NS)
        old = too_old(days, now_ns=now_ns, keep_days=memory.keep_days, watched=watched)
        self._named_ns = {(each.stream, each.day): self._named_ns.get((each.stream, each.day), now_ns) for each in old}
        named = [
            each._replace(at_ns=max(each.at_ns, now_ns + waits_ns, self._named_ns[each.stream, each.day] + _NOTICE_NS))
            for each in old
        ]
        by_age = [each for each in named if each.at_ns <= now_ns]
        left = [day for day in days if (day.stream, day.day) not in {(each.stream, each.day) for each in by_age}]
        disk, content = (Limit.of(high, memory.low_water) for high in (memory.disk_bytes, memory.content_bytes))
        over = over_limit(left, disk=disk, content=content, watched=watched)
        by_bytes = [Dropping(day.stream, day.day, reason, now_ns) for day, reason in over]
        self.dropping = tuple(each for each in named if each not in by_age)
        return sorted(
            {(each.day, each.stream): each for each in (*by_age, *by_bytes)}.values(), key=lambda each: each.day
        )


def _past(days: Sequence[Day], watched: Collection[str] | None) -> list[Day]:
    """Every day but the one that is written now of each stream, oldest first."""
    written: dict[str, Day] = {}
    for row in days:
        if watched is None or row.stream in watched:
            written[row.stream] = max(row, written.get(row.stream, row), key=lambda row: (row.last_id, row.day))
    return sorted((row for row in days if written.get(row.stream) != row), key=lambda row: (row.day, row.stream))
