"""Which days fade and which are dropped, by age and by bytes. Only whole days, and never the one that is written now.

Nothing is deleted because of the clock alone. A day is too old when both its date and the time when it was last written
to are long ago, so that an old recording is not dropped while it is read. And age counts only while the clock can be
trusted: see `RetentionClock`. Where bytes decide, the day that was stored first goes first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from .dayname import day_span
from .retentionclock import RetentionClock
from .settings import FadeStep, MemoryConfig

_SECOND_NS = 1_000_000_000
_DAY_NS = 86_400 * _SECOND_NS
_FORESIGHT_NS = _DAY_NS


class StoredDay(NamedTuple):
    """A day of a stream, what its files take on the disk, and how much of that is in use.

    Attributes:
        stored_ns: when it was last written to, by the clock of that time.
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
_DATE = attrgetter("day", "stream")


def too_old_at_ns(day: StoredDay, keep_days: float) -> int:
    """When a day will be too old: so long after its end, or after it was last written to, whichever comes later."""
    return max(day_span(day.day)[1], day.stored_ns) + round(keep_days * _DAY_NS)


def over_limit(
    days: Sequence[StoredDay],
    *,
    disk: Limit | None,
    content: Limit | None,
    now_ns: int,
    watched: Collection[str] | None = None,
) -> list[tuple[StoredDay, str]]:
    """The days to drop because all together take too much, first stored first, and the limit for each.

    Args:
        now_ns: a time of storing that is later than this comes from a wrong clock.
        watched: streams whose newest day is still written, and so stays; None means all.
    """
    dropped: dict[StoredDay, str] = {}
    past = _as_stored(_past(days, watched), now_ns)
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
    days: Sequence[StoredDay], *, now_ns: int, keep_days: float, watched: Collection[str] | None = None
) -> list[Dropping]:
    """The days that are too old or will be within a day, oldest first; 0 keeps for ever."""
    if not keep_days:
        return []
    dropping = [
        Dropping(day.stream, day.day, f"memory.keep_days: older than {keep_days:g} days", too_old_at_ns(day, keep_days))
        for day in _past(days, watched)
    ]
    return [each for each in dropping if each.at_ns <= now_ns + _FORESIGHT_NS]


def days_to_fade(
    days: Sequence[StoredDay], *, now_ns: int, fade: Sequence[FadeStep]
) -> list[tuple[str, str, FadeStep]]:
    """(stream, day, step) of every past day that should be packed so by now, oldest first; some may be already."""
    due: list[tuple[str, str, FadeStep]] = []
    for day in _past(days, None):
        reached = [step for step in fade if now_ns > too_old_at_ns(day, step.days)]
        if reached:
            due.append((day.stream, day.day, max(reached, key=lambda step: step.days)))
    return due


class Retention:
    """Which days are dropped now, and which are announced because they soon will be.

    Every day is announced for `notice_seconds` before it goes. That is counted since the start, so nothing goes in the
    first minutes.

    Attributes:
        dropping: what will be dropped, why and when, as of the last `due`; may be read on any thread.
    """

    def __init__(self, config: MemoryConfig, clock: RetentionClock) -> None:
        self._config, self._clock = config, clock
        self._named_at: dict[tuple[str, str], float] = {}  # as the clock counts
        self.dropping: tuple[Dropping, ...] = ()

    def due(self, days: Sequence[StoredDay], watched: Collection[str], *, disk_is_full: bool = False) -> list[Dropping]:
        """The days to drop now, oldest first.

        Args:
            disk_is_full: what is above a limit in bytes goes unannounced, since nothing new could be written.
        """
        now_ns = self._clock.now_ns
        waits_ns = round(self._clock.waits_seconds() * _SECOND_NS)
        named_at, self._named_at = self._named_at, {}
        old = [
            self._named(each._replace(at_ns=max(each.at_ns, now_ns + waits_ns)), named_at, now_ns)
            for each in too_old(days, now_ns=now_ns, keep_days=self._config.keep_days, watched=watched)
        ]
        gone = {(each.stream, each.day) for each in old if each.at_ns <= now_ns}
        left = [day for day in days if (day.stream, day.day) not in gone]
        over = self._over(left, watched, now_ns)
        named = [self._named(each, named_at, now_ns) for each in over]
        if not disk_is_full:
            over = named
        found: dict[tuple[str, str], Dropping] = {}
        for each in sorted((*old, *over), key=attrgetter("at_ns"), reverse=True):
            found[each.stream, each.day] = each  # the earlier one, where a day is dropped for both reasons
        self.dropping = tuple(sorted((each for each in found.values() if each.at_ns > now_ns), key=_DATE))
        return sorted((each for each in found.values() if each.at_ns <= now_ns), key=_DATE)

    def _over(self, days: Sequence[StoredDay], watched: Collection[str], now_ns: int) -> list[Dropping]:
        memory = self._config
        disk, content = (Limit.of(high, memory.low_water) for high in (memory.disk_bytes, memory.content_bytes))
        over = over_limit(days, disk=disk, content=content, now_ns=now_ns, watched=watched)
        return [Dropping(day.stream, day.day, reason, now_ns) for day, reason in over]

    def _named(self, dropping: Dropping, before: Mapping[tuple[str, str], float], now_ns: int) -> Dropping:
        """The same, but not before its notice is over. A day that was not announced before is announced now."""
        key, counted = (dropping.stream, dropping.day), self._clock.counted_seconds
        since = self._named_at.setdefault(key, before.get(key, counted))
        notice_ns = round((since + self._config.notice_seconds - counted) * _SECOND_NS)
        return dropping._replace(at_ns=max(dropping.at_ns, now_ns + notice_ns))


def _past(days: Sequence[StoredDay], watched: Collection[str] | None) -> list[StoredDay]:
    """Every day but the one that is written now of each stream, oldest first."""
    written: dict[str, StoredDay] = {}
    for row in days:
        if watched is None or row.stream in watched:
            written[row.stream] = max(row, written.get(row.stream, row), key=lambda row: (row.last_id, row.day))
    return sorted((row for row in days if written.get(row.stream) != row), key=lambda row: (row.day, row.stream))


def _as_stored(days: Sequence[StoredDay], now_ns: int) -> list[StoredDay]:
    """First stored first. Within a stream the ids decide, since a clock may be wrong; future times never count."""
    times: dict[StoredDay, int] = {}
    for stream in {day.stream for day in days}:
        own = sorted((day for day in days if day.stream == stream), key=attrgetter("last_id"))
        newest = min((day.stored_ns for day in own if day.stored_ns <= now_ns), default=now_ns)
        for day in own:
            times[day] = newest = max(newest, day.stored_ns if day.stored_ns <= now_ns else 0)
    return sorted(days, key=lambda day: (times[day], day.last_id, day.day, day.stream))
