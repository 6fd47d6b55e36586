"""`LocalTime`: what clocks on the wall showed, in one time zone and with its changes of daylight saving."""

from __future__ import annotations

import bisect
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

from ..errors import TimeSpanError
from .span import SECOND_NS

MINUTE_NS = 60 * SECOND_NS
_UNDATED_DAYS = 3  # in which a time of day without a date is looked for


class Stretch(NamedTuple):
    """From `begin_ns` to before `end_ns`.

    Attributes:
        clock: whether it is a second or a minute that a clock showed, and not a day or part of one.
        slack_ns: how much earlier or later it may have been: "ten minutes ago" is not exact.
        weekly: it was named by its day of the week, so the same day a week before may be meant.
    """

    begin_ns: int
    end_ns: int
    clock: bool = False
    slack_ns: int = 0
    weekly: bool = False


class Clock(NamedTuple):
    """A time of day: one, or two where the words leave open which half of the day is meant ("half past two").

    Attributes:
        length_ns: how long a clock shows it: a second, or a minute.
    """

    times: tuple[time, ...]
    length_ns: int
    text: str


class LocalTime:
    """Wall clocks at a given moment: days, parts of days, and when a clock showed what."""

    def __init__(self, now_ns: int, zone: tzinfo) -> None:
        self.now_ns, self.zone = now_ns, zone
        self.now = self.wall(now_ns)
        self.today = self.now.date()
        self.utc = datetime.fromtimestamp(now_ns // SECOND_NS, UTC).replace(tzinfo=None)

    def wall(self, time_ns: int) -> datetime:
        """What clocks showed at that time."""
        return datetime.fromtimestamp(time_ns // SECOND_NS, self.zone).replace(tzinfo=None, fold=0)

    def ns(self, wall: datetime) -> int:
        """When clocks first showed this; if they jumped over it, the time at which they jumped."""
        before, after = self._stamps(wall)
        if after >= before:
            return before * SECOND_NS
        offset = datetime.fromtimestamp(before, self.zone).utcoffset()
        seconds = range(after, before + 1)
        jump = bisect.bisect_left(
            seconds, True, key=lambda second: datetime.fromtimestamp(second, self.zone).utcoffset() == offset
        )
        return seconds[jump] * SECOND_NS

    def days(self, first: date, count: int = 1) -> Stretch:
        """So many whole days. A day on which clocks change has 23 or 25 hours."""
        return self.hours(first, 0, 24 * count)

    def week_before(self, stretch: Stretch) -> Stretch:
        """The same a week earlier by the calendar."""
        begin, end = (self.wall(ns) - timedelta(days=7) for ns in stretch[:2])
        return Stretch(self.ns(begin), self.ns(end))

    def until(self, first: date, end: date) -> Stretch:
        """The days from the first to before the end."""
        return self.days(first, (end - first).days)

    def hours(self, day: date, first: int, end: int) -> Stretch:
        """From one full hour of a day to another; hour 30 is six o'clock on the next morning."""
        midnight = datetime.combine(day, time())
        return Stretch(self.ns(midnight + timedelta(hours=first)), self.ns(midnight + timedelta(hours=end)))

    def showing(self, clock: Clock, within: Stretch | None = None, *, edge: bool = False) -> list[Stretch]:
        """Each time that a clock showed this, latest first: in a stretch, or in the last days up to now.

        A time that clocks showed twice, as they were set back, is one stretch from the first to the second.

        Args:
            edge: it begins or ends a span. Then a time that clocks jumped over stands for when they jumped.

        Raises:
            TimeSpanError: clocks jumped over it.
        """
        if within is None:
            within = Stretch(self.days(self.today - timedelta(days=_UNDATED_DAYS - 1)).begin_ns, self.now_ns + 1)
        first, last = self.wall(within.begin_ns).date(), self.wall(within.end_ns - 1).date()
        found: list[Stretch] = []
        for back in range((last - first).days + 1):
            day = last - timedelta(days=back)
            shown = [self._shown(datetime.combine(day, time), clock) for time in clock.times]
            there = [(s, exists) for s, exists in shown if within.begin_ns <= s.begin_ns < within.end_ns]
            if there and not edge and len(clock.times) == 1 and not there[0][1]:
                raise TimeSpanError(
                    f"{clock.text} did not exist on {day} in {self.zone}, where clocks were set forward over it; "
                    "ask about a time before or after that"
                )
            found += sorted((s for s, exists in there if exists or edge), reverse=True)
        return found

    def format(self, time_ns: int) -> str:
        """`2026-03-02 14:03`, for a sentence."""
        return self.wall(time_ns).strftime("%Y-%m-%d %H:%M")

    def _shown(self, wall: datetime, clock: Clock) -> tuple[Stretch, bool]:
        """When clocks showed it, and whether they did."""
        first, second = (stamp * SECOND_NS for stamp in self._stamps(wall))
        begin_ns = self.ns(wall)
        end_ns = second if first < second <= self.now_ns else begin_ns
        return Stretch(begin_ns, end_ns + clock.length_ns, clock=True), second >= first

    def _stamps(self, wall: datetime) -> tuple[int, int]:
        """Seconds since 1970 by the clocks as they went before a change and after it; equal where none is near."""
        before, after = (wall.replace(tzinfo=self.zone, fold=fold).timestamp() for fold in (0, 1))
        return int(before), int(after)
