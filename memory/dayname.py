"""Days as their folders are named, and the times that belong to them."""

from __future__ import annotations

from datetime import UTC, datetime

LAST_NS = 9_223_286_400_000_000_000 - 1  # the end of the last whole day that 63 bits can count, 2262-04-10
_HELD_NS = 7 * 86_400 * 1_000_000_000  # no scene holds for longer: see `keep_seconds`


def day_of(time_ns: int) -> str:
    """The UTC day that a time belongs to, as its partition is named: `2026-03-02`."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d")


def day_span(day: str) -> tuple[int, int]:
    """The first and the last nanosecond of a day."""
    begin = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
    return begin * 1_000_000_000, (begin + 86_400) * 1_000_000_000 - 1


def unread_span(day: str) -> tuple[int, int]:
    """The time that an unreadable block of a day may touch: a scene that began in it may have held for days."""
    first_ns, last_ns = day_span(day)
    return first_ns, last_ns + _HELD_NS
