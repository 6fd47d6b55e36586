"""Times as people type them on the command line, as UTC nanoseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from .errors import BadTime

SECOND_NS = 1_000_000_000
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_time(text: str, now_ns: int) -> tuple[int, int]:
    """When a text means, and how long that lasts (a second, or a minute where no seconds were given).

    `14:03`, `14:03:20` (the latest such time not after now), `2026-03-02T14:03:20`, `-10m` (s, m, h, d before now).

    Args:
        now_ns: the newest time that the stream knows.

    Raises:
        BadTime: it is none of these.
    """
    if found := re.fullmatch(r"-(\d+)([smhd])", text):
        return now_ns - int(found[1]) * _UNITS[found[2]] * SECOND_NS, SECOND_NS
    now = datetime.fromtimestamp(now_ns // SECOND_NS, UTC)
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", text):
            hours, minutes, *seconds = (int(part) for part in text.split(":"))
            time = now.replace(hour=hours, minute=minutes, second=seconds[0] if seconds else 0, microsecond=0)
            if time > now:
                time -= timedelta(days=1)
        else:
            time = datetime.fromisoformat(text)
            time = time.replace(tzinfo=time.tzinfo or UTC)
    except ValueError as exc:
        raise BadTime(f"{text!r} is no time; write 14:03, 14:03:20, 2026-03-02T14:03:20 or -10m") from exc
    length = SECOND_NS if text.count(":") >= 2 else 60 * SECOND_NS
    return int(time.timestamp()) * SECOND_NS, length


def parse_span(since: str | None, until: str | None, at: str | None, now_ns: int) -> tuple[int | None, int | None]:
    """The span that `--since`, `--until` and `--at` name together.

    Raises:
        BadTime: one cannot be read, `--at` stands beside another, or the span ends before it begins.
    """
    if at is not None:
        if since or until:
            raise BadTime("--at cannot stand beside --since or --until")
        start, length = parse_time(at, now_ns)
        slack = 2 * SECOND_NS if length == SECOND_NS else 0
        return start - slack, start + length - SECOND_NS + slack
    since_ns = parse_time(since, now_ns)[0] if since else None
    until_ns = parse_time(until, now_ns)[0] if until else None
    if since_ns is not None and until_ns is not None and until_ns < since_ns:
        raise BadTime(f"the span ends ({until}) before it begins ({since})")
    return since_ns, until_ns


def clock(time_ns: int) -> str:
    """`2026-03-02 14:03:20`, UTC."""
    return datetime.fromtimestamp(time_ns // SECOND_NS, UTC).strftime("%Y-%m-%d %H:%M:%S")
