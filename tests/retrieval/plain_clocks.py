"""The plain way to read the clock times that the embedded model is asked about: a pattern for each phrasing, in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from longwatch.retrieval.time.span import SECOND_NS, Span

_CLOCK = r"(\d{1,2}:\d{2}(?::\d{2})?)"
_BETWEEN = re.compile(rf"\bbetween {_CLOCK} and {_CLOCK}")
_AT = re.compile(rf"\bat (?:the time )?{_CLOCK}")


def plain_span(question: str, now_ns: int) -> Span | None:
    """The span of "at 14:03:20" and "between 14:00:00 and 14:10:00"."""
    if found := _BETWEEN.search(question):
        until_ns, until_length_ns = _latest(found[2], now_ns)
        return Span(_latest(found[1], until_ns)[0], until_ns + until_length_ns)
    if found := _AT.search(question):
        start_ns, length_ns = _latest(found[1], now_ns)
        slack_ns = 2 * SECOND_NS if length_ns == SECOND_NS else 0
        return Span(start_ns - slack_ns, start_ns + length_ns - SECOND_NS + slack_ns)
    return None


def _latest(text: str, now_ns: int) -> tuple[int, int]:
    """The latest time not after now that a clock showed so, and how long it did."""
    parts = [int(part) for part in text.split(":")]
    now = datetime.fromtimestamp(now_ns // SECOND_NS, UTC)
    time = now.replace(hour=parts[0], minute=parts[1], second=parts[2] if len(parts) == 3 else 0, microsecond=0)
    if time > now:
        time -= timedelta(days=1)
    return int(time.timestamp()) * SECOND_NS, SECOND_NS if len(parts) == 3 else 60 * SECOND_NS
