"""`TimeReader`: when a `Term` was, or what time of day it names.

dateparser reads dates, amounts and clocks: "2nd of March", "forty-five minutes ago", "3 pm". What it does not know is
rewritten in its words ("half past two") or counted on the calendar ("the weekend", "last night").
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta

from dateparser.date import DateDataParser

from ..errors import TimeSpanError
from .localtime import MINUTE_NS, Clock, LocalTime, Stretch
from .span import SECOND_NS
from .words import WEEKDAYS, Term

# From one hour to another. A night ends on the next day; the night of a day begins with its evening.
_PARTS = {"morning": (5, 12), "afternoon": (12, 17), "evening": (17, 24), "night": (17, 30)}
_DARK = (20, 30)
_PART_BEHIND = re.compile(r"(?: (?:in the|at))? (morning|afternoon|evening|night)$")
_OF_WEEK = re.compile(r"\b(last|this) week$")
_NUMBERS = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8"}
_NUMBERS |= {"nine": "9", "ten": "10", "eleven": "11", "twelve": "12"}
_NUMBERS |= {"twenty": "20", "twenty-five": "25", "twenty five": "25"}
_NUMBERS |= {"quarter": "15", "a quarter": "15", "half": "30"}
_AMOUNTS = {  # as dateparser knows them
    r"an hour and a half": "90 minutes",
    r"(?:a )?quarter of an hour": "15 minutes",
    r"half an hour": "30 minutes",
    r"half a minute": "30 seconds",
    r"half a day": "12 hours",
    r"(?:a )?couple of": "2",
    r"(?:a )?few": "3",
    r"(?=(?:second|minute|hour|day|week|month|year)\b)(?<!\S )": "1 ",
}
_BY_CALENDAR = re.compile(r"day|week|month|year|\d ?d\b")
_MINUTES_OF_HOUR = re.compile(r"(.+?)(?: minutes)? (past|to|after) (\w+)(.*)")
_SLACK = 4  # "an hour ago" is a quarter of an hour more or less
_UNREAD = {
    "clock": "is not a time of day; write 00:00:00 to 23:59:59",
    "day": "is not in the calendar; write a day as 2 March or 2026-03-02",
    "exact": "is not a time; write 2026-03-02T14:00 or 2026-03-02T14:00+01:00",
    "ago": "is too long ago; ask about a time since 1970",
    "rolling": "is too long; ask about a time since 1970",
}


class TimeReader:
    """Reads words that were said at a given time in a time zone. A day of the week is the latest in the past."""

    def __init__(self, local: LocalTime) -> None:
        self.local = local
        self._reads = {
            "ago": self._read_ago,
            "rolling": self._read_rolling,
            "tonight": self._read_tonight,
            "exact": self._read_exact,
            "day": self._read_day,
            "period": self._read_period,
        }

    def read(self, term: Term) -> Stretch | Clock:
        """A time of day for a `clock`, else a stretch, which may end after now. Not for a `part`.

        Raises:
            TimeSpanError: no calendar or clock shows it, or it is in the future.
        """
        if term.kind == "future":
            raise self.future_error(term.text)
        try:
            text = term.text.lower()
            return self._read_clock(text) if term.kind == "clock" else self._reads[term.kind](text)
        except (ValueError, OverflowError) as exc:
            raise TimeSpanError(f"{term.text} {_UNREAD[term.kind]}") from exc

    def part(self, name: str, day: Stretch | None) -> Stretch:
        """A morning, afternoon, evening or night: that of a day, or the latest that has begun."""
        if day is not None:
            return self.local.hours(self.local.wall(day.begin_ns).date(), *_PARTS[name])
        hours = _DARK if name == "night" else _PARTS[name]
        found = [self.local.hours(self.local.today - timedelta(days=back), *hours) for back in range(2)]
        return next(part for part in found if part.begin_ns <= self.local.now_ns)

    def future_error(self, words: str) -> TimeSpanError:
        """The error for a time in the future."""
        now = self.local.format(self.local.now_ns)
        return TimeSpanError(f"{words} is in the future; ask about a time up to now, {now}")

    def _read_clock(self, text: str) -> Clock:
        """`half past two` is read as `2:30`, in either half of the day if no word says which."""
        plain, _, part = re.sub(r" at (?=night$)| in the ", "|", text).partition("|")
        plain = re.sub(r" ?o'?clock", "", plain.replace(".", "")).replace("12 noon", "noon").replace("midday", "noon")
        minutes = 0
        if found := _MINUTES_OF_HOUR.fullmatch(plain):
            minutes = int(_NUMBERS.get(found[1], found[1])) * (-1 if found[2] == "to" else 1)
            plain = found[3] + found[4]
        plain = " ".join(_NUMBERS.get(word, word) for word in plain.split())
        hour = self._parse(f"{plain}:00" if plain.isdigit() else plain)
        times = [hour + timedelta(minutes=minutes, hours=_hours_to(part, hour.hour))]
        if plain.isdigit() and plain[0] != "0" and hour.hour <= 12 and not part:
            times.append(times[0] + timedelta(hours=12))
        length_ns = SECOND_NS if plain.count(":") == 2 else MINUTE_NS
        return Clock(tuple(each.time() for each in times), length_ns, text)

    def _read_ago(self, text: str) -> Stretch:
        then_ns = self._subtract(text.removesuffix(" ago"))
        slack_ns = (self.local.now_ns - then_ns) // _SLACK
        if not _BY_CALENDAR.search(text):
            return Stretch(then_ns, then_ns + SECOND_NS, clock=True, slack_ns=slack_ns)
        days = 0 if re.search(r"day|\d ?d\b", text) else slack_ns // (24 * 60 * MINUTE_NS)
        return self.local.days(self.local.wall(then_ns).date() - timedelta(days=days), 2 * days + 1)

    def _read_rolling(self, text: str) -> Stretch:
        return Stretch(self._subtract(re.sub(r"^.*?\b(?:last|past) ", "", text)), self.local.now_ns + SECOND_NS)

    def _subtract(self, amount: str) -> int:
        """So long before now: days and longer by the calendar, less by a clock that is never changed."""
        for pattern, number in _AMOUNTS.items():
            amount = re.sub(rf"\b{pattern}", number, amount)
        if _BY_CALENDAR.search(amount):
            return self.local.ns(self._parse(f"{amount} ago"))
        ago = self.local.utc - self._parse(f"{amount} ago", self.local.utc)
        return self.local.now_ns - int(ago.total_seconds()) * SECOND_NS

    def _read_tonight(self, text: str) -> Stretch:
        today, yesterday = self.local.today, self.local.today - timedelta(days=1)
        if text == "overnight":
            return self.part("night", None)
        part = "night" if text == "tonight" else text.rpartition(" ")[2]
        if text.startswith(("last", "the previous")):
            return self.local.hours(yesterday, *_PARTS[part])
        going_on = self.local.hours(yesterday, *_PARTS[part])
        return going_on if self.local.now_ns < going_on.end_ns else self.local.hours(today, *_PARTS[part])

    def _read_exact(self, text: str) -> Stretch:
        wall = datetime.fromisoformat(text.upper().replace(" Z", "Z").replace(",", "."))
        length_ns = SECOND_NS if re.search(r":\d\d:\d\d", text) else MINUTE_NS
        if wall.tzinfo is not None:
            begin_ns = int(wall.timestamp()) * SECOND_NS
            return Stretch(begin_ns, begin_ns + length_ns, clock=True)
        clock = Clock((wall.time().replace(microsecond=0),), length_ns, text)
        return self.local.showing(clock, self.local.days(wall.date()))[0]

    def _read_day(self, text: str) -> Stretch:
        """A date with or without a part of the day: `2nd of march`, `last tuesday evening`."""
        part = _PART_BEHIND.search(text)
        day = self.local.days(self._read_date(text[: part.start()] if part else text))
        weekly = "this" not in text and "last" not in text and any(name in text for name in WEEKDAYS)
        return (self.part(part[1], day) if part else day)._replace(weekly=weekly)

    def _read_date(self, text: str) -> date:
        weekday = next((name for name in WEEKDAYS if name in text), "")
        week = _OF_WEEK.search(text)
        if weekday and (week or text.startswith("this")):
            monday = self._monday() - timedelta(days=7 if week and week[1] == "last" else 0)
            return monday + timedelta(days=WEEKDAYS.index(weekday))
        numbers = re.fullmatch(r"(\d+)/(\d+)/\d+", text)
        if numbers and numbers[1] != numbers[2] and int(numbers[1]) <= 12 and int(numbers[2]) <= 12:
            raise TimeSpanError(f"{text} can mean two days; write it as 2026-03-02")
        days = [int(number) for number in re.findall(r"\b\d{1,2}(?!\d)", text)]
        if "-" not in text and days and max(days) > 31:
            raise ValueError(text)  # dateparser takes the 32nd for 1932
        return self._parse(weekday or text).date()

    def _read_period(self, text: str) -> Stretch:
        """Calendar weeks (from Monday), weekends, months and years."""
        which, _, unit = text.partition(" ")
        if unit == "week":
            return self.local.days(self._monday() - timedelta(days=7 if which == "last" else 0), 7)
        if unit == "weekend":
            saturday = self._monday() + timedelta(days=5)
            before = which == "last" or (which == "the" and self.local.today < saturday)
            return self.local.days(saturday - timedelta(days=7 if before else 0), 2)
        if unit == "year" or text.isdigit():
            year = int(text) if text.isdigit() else self.local.today.year - (which == "last")
            return self.local.until(date(year, 1, 1), date(year + 1, 1, 1))
        first = self.local.today if which == "this" else self._parse(text).date()
        first = first.replace(day=1)
        return self.local.until(first, (first + timedelta(days=31)).replace(day=1))

    def _monday(self) -> date:
        return self.local.today - timedelta(days=self.local.today.weekday())

    def _parse(self, text: str, base: datetime | None = None) -> datetime:
        """What dateparser makes of it.

        Raises:
            ValueError: nothing.
        """
        # Who writes 2.3.2026 puts the day first. Of 13/2 and 2/13, only one order is possible.
        first = re.match(r"(\d+)/", text)
        order = "MDY" if first and int(first[1]) <= 12 else "DMY"
        settings = {"RELATIVE_BASE": base or self.local.now, "PREFER_DATES_FROM": "past", "DATE_ORDER": order}
        read: datetime | None = DateDataParser(languages=["en"], settings=settings).get_date_data(text).date_obj
        if read is None:
            raise ValueError(text)
        return read


def _hours_to(part: str, hour: int) -> int:
    """Hours to add to one of twelve for a part of the day: `7 in the evening`, `12 at night`."""
    if part in ("afternoon", "evening") or (part == "night" and 5 < hour < 12):
        return 12 if hour < 12 else 0
    return -12 if part and hour == 12 else 0
