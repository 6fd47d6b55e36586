"""What fades and what is forgotten, by age and by bytes: whole days of a stream, and never its newest day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import NamedTuple

from .settings import FadeStep


class Day(NamedTuple):
    """A day of a stream, what its files take on the disk, and what of that holds something."""

    stream: str
    day: str
    disk_bytes: int
    content_bytes: int


class Limit(NamedTuple):
    """Bytes above which days are dropped, until no more than `low` are taken."""

    high: int
    low: int

    @classmethod
    def of(cls, high: int, low_water: float) -> Limit | None:
        """None where there is no limit (0)."""
        return cls(high, int(high * low_water)) if high else None


_DISK, _CONTENT = attrgetter("disk_bytes"), attrgetter("content_bytes")


def days_to_drop(
    days: Sequence[Day], *, now_ns: int, keep_days: float, disk: Limit | None = None, content: Limit | None = None
) -> list[tuple[str, str]]:
    """The (stream, day) pairs to drop now, oldest first.

    Args:
        keep_days: a day that ended longer ago than this is dropped; 0 keeps for ever.
        disk, content: limits of what all days take together.
    """
    past = [*_past(days, now_ns)]
    dropped = {day for day, age in past if keep_days > 0 and age > timedelta(days=keep_days)}
    for limit, size in ((disk, _DISK), (content, _CONTENT)):
        taken = sum(size(day) for day in days if day not in dropped)
        if limit is None or taken <= limit.high:
            continue
        for day in (day for day, _ in past if day not in dropped):
            if taken <= limit.low:
                break
            dropped.add(day)
            taken -= size(day)
    return [(day.stream, day.day) for day, _ in past if day in dropped]


def days_to_fade(days: Sequence[Day], *, now_ns: int, fade: Sequence[FadeStep]) -> list[tuple[str, str, FadeStep]]:
    """(stream, day, step) of every past day that should be packed so by then, oldest first; some may be already."""
    due: list[tuple[str, str, FadeStep]] = []
    for day, age in _past(days, now_ns):
        reached = [step for step in fade if age > timedelta(days=step.days)]
        if reached:
            due.append((day.stream, day.day, max(reached, key=lambda step: step.days)))
    return due


def _past(days: Sequence[Day], now_ns: int) -> Iterator[tuple[Day, timedelta]]:
    """Every day but the newest of its stream, oldest first, and how long ago it ended."""
    newest = {stream: max(row.day for row in days if row.stream == stream) for stream in {row.stream for row in days}}
    past = [row for row in days if row.day != newest[row.stream]]
    for row in sorted(past, key=lambda row: (row.day, row.stream)):
        ended = datetime.fromisoformat(row.day).replace(tzinfo=UTC) + timedelta(days=1)
        yield row, datetime.fromtimestamp(now_ns / 1e9, UTC) - ended
