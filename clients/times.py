"""Times as people type and read them on the command line; UTC nanoseconds inside."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from .errors import BadTime

SECOND_NS = 1_000_000_000
_DAY_SECONDS = 86400
_LATEST_NS = 2**63 - 1
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": _DAY_SECONDS}


def parse_zone(name: str) -> tzinfo:
    """A time zone by its name (`UTC`, `Europe/Berlin`), or `local` for this machine's.

    Raises:
        BadTime: there is no such zone.
    """
    try:
        if name == "local":
            local = datetime.now().astimezone().tzinfo
            assert local is not None, "astimezone() gives a zone"
            return local
        return UTC if name == "UTC" else ZoneInfo(name)
    except (OSError, ValueError, KeyError) as exc:  # ZoneInfoNotFoundError is a KeyError
        raise BadTime(f"{name!r} is not a valid time zone; write UTC, local or a name like Europe/Berlin") from exc


def parse_time(text: str, now_ns: int, zone: tzinfo = UTC, *, today: bool = False) -> tuple[int, int]:
    """The time that a text means, and how long it lasts: a second, a minute without seconds, a day without a time.

    It reads `14:03` and `14:03:20` (the latest such time that is not after now), `2026-03-02T14:03:20`, `2026-03-02`,
    and `-10m` (s, m, h or d before now).

    Args:
        now_ns: the newest time that the stream knows.
        zone: for a time that has no offset of its own.
        today: `14:03` is that of today, even if it is still to come.

    Raises:
        BadTime: it is none of these.
    """
    if found := re.fullmatch(r"-(\d{1,9})([smhd])", text):
        return max(0, now_ns - int(found[1]) * _UNITS[found[2]] * SECOND_NS), SECOND_NS
    now = datetime.fromtimestamp(now_ns // SECOND_NS, zone)
    try:
        if _is_clock(text):
            hours, minutes, *seconds = (int(part) for part in text.split(":"))
            time = now.replace(hour=hours, minute=minutes, second=seconds[0] if seconds else 0, microsecond=0)
            if time > now and not today:
                time -= timedelta(days=1)
        else:
            time = datetime.fromisoformat(text)
            time = time.replace(tzinfo=time.tzinfo or zone)
        since_epoch = int(time.timestamp())
        day_seconds = int((time + timedelta(days=1)).timestamp()) - since_epoch  # 23 to 25 hours
    except (ValueError, OverflowError) as exc:
        raise BadTime(f"{text!r} is not a valid time; write 14:03, 14:03:20, 2026-03-02T14:03:20 or -10m") from exc
    if not 0 <= since_epoch * SECOND_NS < 2**63:
        raise BadTime(f"{text!r} is out of range; years may be 1970 to 2261")
    if re.search(r"\d:\d\d:\d\d", text):
        return since_epoch * SECOND_NS, SECOND_NS
    return since_epoch * SECOND_NS, (60 if ":" in text else day_seconds) * SECOND_NS


def parse_span(
    since: str | None, until: str | None, at: str | None, now_ns: int, zone: tzinfo = UTC
) -> tuple[int | None, int | None]:
    """The span that `--since`, `--until` and `--at` name together.

    The end is included: until 15:10 means until that minute is over, and until a date means until midnight. It is the
    same in a question's "between". An end that is a time of day still to come means up to now.

    Raises:
        BadTime: one cannot be read, `--at` is given with another, or the span ends before it begins.
    """
    if at is not None:
        if since or until:
            raise BadTime("use --at alone, or --since and --until")
        start, length = parse_time(at, now_ns, zone)
        slack = 2 * SECOND_NS if length == SECOND_NS else 0
        return max(0, start - slack), start + length - SECOND_NS + slack
    since_ns = parse_time(since, now_ns, zone)[0] if since else None
    until_ns = _end_of(until, now_ns, zone) if until else None
    if until and until_ns is not None and _is_to_come(until, now_ns, zone):
        is_yesterday = since_ns is not None and since_ns <= until_ns  # 23:00 to 23:30, asked at 1:15
        until_ns = until_ns if is_yesterday else now_ns
    _check_order(since, since_ns, until, until_ns)
    return since_ns, until_ns


def parse_past(since: str | None, until: str | None, now_ns: int, zone: tzinfo = UTC) -> tuple[int | None, int | None]:
    """The span that `forget` names. A time of day is today's: what is forgotten cannot be brought back.

    Raises:
        BadTime: one cannot be read, the span ends before it begins, or it begins in the future.
    """
    for text in (since, None if since else until):
        if text and _is_to_come(text, now_ns, zone):
            today = datetime.fromtimestamp(now_ns // SECOND_NS, zone)
            before = datetime.fromtimestamp(parse_time(text, now_ns, zone)[0] // SECOND_NS, zone)
            raise BadTime(
                f"{text} on {today:%Y-%m-%d} is in the future; for the day before, write {before:%Y-%m-%dT%H:%M:%S}"
            )
    since_ns = parse_time(since, now_ns, zone)[0] if since else None
    until_ns = None
    if until:
        until_ns = now_ns if _is_to_come(until, now_ns, zone) else _end_of(until, now_ns, zone)
    _check_order(since, since_ns, until, until_ns)
    return since_ns, until_ns


def _end_of(text: str, now_ns: int, zone: tzinfo) -> int:
    return min(sum(parse_time(text, now_ns, zone)) - 1, _LATEST_NS)


def _is_clock(text: str) -> bool:
    return re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", text) is not None


def _is_to_come(text: str, now_ns: int, zone: tzinfo) -> bool:
    """Whether it is a time of day that is later than now."""
    return _is_clock(text) and parse_time(text, now_ns, zone, today=True)[0] > now_ns


def _check_order(since: str | None, since_ns: int | None, until: str | None, until_ns: int | None) -> None:
    if since_ns is not None and until_ns is not None and until_ns < since_ns:
        raise BadTime(f"the span ends ({until}) before it begins ({since})")


def in_words(since: str | None, until: str | None, at: str | None) -> str:
    """`--since`, `--until` and `--at` as words for the daemon to read; empty if `parse_span` can read them all.

    Raises:
        BadTime: `--at` is given with another, or `-10m` with words.
    """
    given = [text for text in (since, until, at) if text]
    if all(_is_plain(text) for text in given):
        return ""
    if at and (since or until):
        raise BadTime("use --at alone, or --since and --until")
    if short := next((text for text in given if text.startswith("-")), ""):
        raise BadTime(f"{short} cannot be mixed with a time in words; write it in words too: ten minutes ago")
    return at or " ".join(f"{word} {text}" for word, text in (("since", since), ("until", until)) if text)


def _is_plain(text: str) -> bool:
    return re.fullmatch(r"-\d+[smhd]|[-\d:.TZ+ ]+", text) is not None


def clock(time_ns: int, zone: tzinfo = UTC) -> str:
    """`2026-03-02 14:03:20`."""
    return datetime.fromtimestamp(time_ns // SECOND_NS, zone).strftime("%Y-%m-%d %H:%M:%S")
