"""What is forgotten, by age and by bytes: whole days of a stream, oldest first, and never its newest day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

Day = tuple[str, str, int]  # stream, day, bytes on disk


def days_to_drop(days: Sequence[Day], *, now_ns: int, keep_days: float, disk_bytes: int) -> list[tuple[str, str]]:
    """The (stream, day) pairs to drop now, oldest first.

    Args:
        keep_days: a day that ended longer ago than this is dropped; 0 keeps for ever.
        disk_bytes: while all days together take more, the oldest is dropped; 0 is no limit.
    """
    newest = {stream: max(day for s, day, _ in days if s == stream) for stream, _, _ in days}
    old = sorted((row for row in days if row[1] != newest[row[0]]), key=lambda row: (row[1], row[0]))
    taken = sum(size for *_, size in days)
    dropped = []
    for stream, day, size in old:
        ended = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1)
        age = datetime.fromtimestamp(now_ns / 1e9, UTC) - ended
        too_old = keep_days > 0 and age > timedelta(days=keep_days)
        too_much = disk_bytes > 0 and taken > disk_bytes
        if too_old or too_much:
            dropped.append((stream, day))
            taken -= size
    return dropped
