"""What fades and what is forgotten, by age and by bytes: whole days of a stream, and never its newest day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from .settings import CodecName

Day = tuple[str, str, int]  # stream, day, bytes on disk


def days_to_drop(days: Sequence[Day], *, now_ns: int, keep_days: float, disk_bytes: int) -> list[tuple[str, str]]:
    """The (stream, day) pairs to drop now, oldest first.

    Args:
        keep_days: a day that ended longer ago than this is dropped; 0 keeps for ever.
        disk_bytes: while all days together take more, the oldest is dropped; 0 is no limit.
    """
    taken = sum(size for *_, size in days)
    dropped = []
    for (stream, day, size), age in _past(days, now_ns):
        too_old = keep_days > 0 and age > timedelta(days=keep_days)
        too_much = disk_bytes > 0 and taken > disk_bytes
        if too_old or too_much:
            dropped.append((stream, day))
            taken -= size
    return dropped


def days_to_fade(days: Sequence[Day], *, now_ns: int, fade: Mapping[CodecName, float]) -> list[tuple[str, str, str]]:
    """(stream, day, codec) of every past day that should be packed by then, oldest first; some may be already.

    Args:
        fade: codecs, and how many days after its end a day is packed with each.
    """
    due: list[tuple[str, str, str]] = []
    for (stream, day, _), age in _past(days, now_ns):
        reached = [(after, codec) for codec, after in fade.items() if age > timedelta(days=after)]
        if reached:
            due.append((stream, day, max(reached)[1]))
    return due


def _past(days: Sequence[Day], now_ns: int) -> Iterator[tuple[Day, timedelta]]:
    """Every day but the newest of its stream, oldest first, and how long ago it ended."""
    newest = {stream: max(day for s, day, _ in days if s == stream) for stream, _, _ in days}
    for row in sorted((row for row in days if row[1] != newest[row[0]]), key=lambda row: (row[1], row[0])):
        ended = datetime.fromisoformat(row[1]).replace(tzinfo=UTC) + timedelta(days=1)
        yield row, datetime.fromtimestamp(now_ns / 1e9, UTC) - ended
