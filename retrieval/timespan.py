"""`Span`: the time that a question is about, and how its words name it.

Only plain clock times are read ("at 14:03:20", "between 14:00 and 14:10", "since 14:00"), as the latest such time
that has been. Knows nothing about blocks beyond when they begin and end.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from .errors import TimeSpanError

SECOND_NS = 1_000_000_000
AT_SLACK_NS = 2 * SECOND_NS

_CLOCK = r"(\d{1,2}:\d{2}(?::\d{2})?)"
_BETWEEN = re.compile(rf"\b(?:between|from)\s+{_CLOCK}\s+(?:and|to|until|till)\s+{_CLOCK}", re.IGNORECASE)
_SINCE = re.compile(rf"\b(?:since|after)\s+{_CLOCK}", re.IGNORECASE)
_UNTIL = re.compile(rf"\b(?:until|till|before)\s+{_CLOCK}", re.IGNORECASE)
_AT = re.compile(rf"\bat\s+(?:(?:the\s+)?time\s+(?:of\s+)?)?{_CLOCK}", re.IGNORECASE)


class Span(NamedTuple):
    """From `since_ns` to `until_ns`, both included; None is open."""

    since_ns: int | None = None
    until_ns: int | None = None

    def touches(self, start_ns: int, end_ns: int) -> bool:
        """Whether something that lasted from start to end lies in it, if only in part."""
        return (self.until_ns is None or start_ns <= self.until_ns) and (
            self.since_ns is None or end_ns >= self.since_ns
        )


def span_in_words(question: str, now_ns: int) -> Span | None:
    """The span that a question names, or None where it names none. Clock times are UTC.

    "at 14:03" is that minute, "at 14:03:20" that second and two on either side.

    Raises:
        TimeSpanError: a clock time does not exist, or the span ends before it begins.
    """
    if found := _BETWEEN.search(question):
        until_ns, until_seconds = _latest(found[2], now_ns)
        since_ns, _ = _latest(found[1], until_ns)
        return Span(since_ns, until_ns + until_seconds)
    if found := _AT.search(question):
        start_ns, length_ns = _latest(found[1], now_ns)
        slack_ns = AT_SLACK_NS if length_ns == SECOND_NS else 0
        return Span(start_ns - slack_ns, start_ns + length_ns - SECOND_NS + slack_ns)
    since = _SINCE.search(question)
    until = _UNTIL.search(question)
    if since is None and until is None:
        return None
    return Span(_latest(since[1], now_ns)[0] if since else None, _latest(until[1], now_ns)[0] if until else None)


def _latest(text: str, now_ns: int) -> tuple[int, int]:
    """The latest time not after now that a clock showed so, and how long it did (a second or a minute)."""
    parts = [int(part) for part in text.split(":")]
    now = datetime.fromtimestamp(now_ns // SECOND_NS, UTC)
    try:
        time = now.replace(hour=parts[0], minute=parts[1], second=parts[2] if len(parts) == 3 else 0, microsecond=0)
    except ValueError as exc:
        raise TimeSpanError(f"{text} is not a time of day; write 00:00:00 to 23:59:59") from exc
    if time > now:
        time -= timedelta(days=1)
    return int(time.timestamp()) * SECOND_NS, SECOND_NS if len(parts) == 3 else 60 * SECOND_NS
