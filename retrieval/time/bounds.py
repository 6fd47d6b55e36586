"""`Bounds`: the one span that the moments of a sentence make together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ..errors import TimeSpanError
from .localtime import MINUTE_NS, Stretch
from .moments import Moment
from .reader import TimeReader
from .span import SECOND_NS, Span

_SLACK_NS = 2 * SECOND_NS  # on either side of a time that was said to the second
_ABOUT_SECOND_NS, _ABOUT_NS = MINUTE_NS, 15 * MINUTE_NS
_SHORT_NS = 15 * MINUTE_NS
_DAY_NS = 24 * 60 * MINUTE_NS


class Bounds:
    """A day, or part of one, that stands alone in a sentence is the day of every clock time in it.

    Args:
        words: what was said, for a complaint.
    """

    def __init__(self, reader: TimeReader, words: str) -> None:
        self._reader, self._words = reader, words
        self._local, self._now_ns = reader.local, reader.local.now_ns

    def span(self, said: Sequence[Moment]) -> Span:
        """The span: from one moment to the next, else at one, else since or until one.

        Raises:
            TimeSpanError: it has not been yet, no clock showed it, or it ends before it begins.
        """
        day = self._day([m for m in said if not m.is_clock and m.relation in ("", "at")])
        for first, last in itertools.pairwise(said):
            if last.relation == "to":
                return self._between(first, last, day)
        for moment in said:
            if moment.is_clock and moment.relation in ("", "at"):
                return self._at(moment, day)
        since = next((m for m in said if m.relation in ("since", "after")), None)
        until = next((m for m in said if m.relation in ("until", "before")), None)
        if since is None and until is None:
            assert day is not None, f"{self._words!r} bounds nothing"
            return Span(self._begun(day.begin_ns), min(day.end_ns - SECOND_NS, self._now_ns))
        return self._outside(since, until, day)

    def _day(self, alone: Sequence[Moment]) -> Stretch | None:
        """Yesterday, this morning; "in the evening" and "yesterday" make one even where they stand apart."""
        period = next((m.period for m in alone if m.period is not None), None)
        part = next((m.part for m in alone if m.part), "")
        return self._reader.part(part, period) if part else period

    def _window(self, moment: Moment, day: Stretch | None) -> Stretch | None:
        """Where a moment's clock is looked for; None is the last days."""
        period = moment.period or day
        return self._reader.part(moment.part, period) if moment.part else period

    def _between(self, first: Moment, last: Moment, day: Stretch | None) -> Span:
        """The shortest span from one to the other, of those within one day, the latest."""
        own = self._window(last, None)
        within = self._window(first, day) or own
        starts = [s for s in self._edges(first, within) if s.begin_ns <= self._now_ns]
        if not starts:
            raise self._reader.not_yet(self._words)
        behind = own or (within and Stretch(within.begin_ns, within.end_ns + _DAY_NS))
        pairs = [(s, e) for s in starts for e in self._edges(last, behind) if e.begin_ns >= s.begin_ns]
        if not pairs and first.period is not None and first.period.weekly:  # "from Friday to Monday", on a Saturday
            return self._between(first._replace(period=self._local.week_before(first.period)), last, day)
        if not pairs:
            raise self._backwards()
        start, end = min(pairs, key=self._unlikely)
        until_ns = end.end_ns if end.clock else end.end_ns - SECOND_NS
        return Span(start.begin_ns, until_ns if within is None else min(until_ns, self._now_ns))

    def _unlikely(self, pair: tuple[Stretch, Stretch]) -> tuple[int, bool, int]:
        """Least for what is rather meant: from nine to five is a day's work, between two and three the later one."""
        begin_ns, end_ns = pair[0].begin_ns, pair[1].begin_ns
        nightly = self._local.wall(begin_ns).date() != self._local.wall(end_ns).date()
        return end_ns - begin_ns, nightly, -end_ns

    def _edges(self, moment: Moment, within: Stretch | None) -> list[Stretch]:
        """What a moment may mean, latest first."""
        if moment.clock is not None:
            return self._local.showing(moment.clock, within, edge=True)
        assert within is not None, "a moment without a clock is a period"
        return [within]

    def _at(self, moment: Moment, day: Stretch | None) -> Span:
        if moment.clock is None:
            assert moment.period is not None, "a moment without a clock is a period"
            shown = [moment.period]
            slack_ns = moment.period.slack_ns or _slack(moment.period.end_ns - moment.period.begin_ns)
        else:
            shown, slack_ns = (
                self._local.showing(moment.clock, self._window(moment, day)),
                _slack(moment.clock.length_ns),
            )
            if moment.about:
                slack_ns = _ABOUT_SECOND_NS if slack_ns else _ABOUT_NS
        if not shown:
            raise TimeSpanError(f"{self._words} names a time that is not in it; leave out one of the two")
        been = [s for s in shown if s.begin_ns <= self._now_ns]
        if not been:
            raise self._reader.not_yet(self._words)
        return Span(been[0].begin_ns - slack_ns, been[0].end_ns - SECOND_NS + slack_ns)

    def _outside(self, since: Moment | None, until: Moment | None, day: Stretch | None) -> Span:
        """Since, or until, or both; a day bounds the side that is left open."""
        since_ns = until_ns = None
        if until is not None:
            edge = self._edge(until, day, self._now_ns)
            until_ns = edge.end_ns - SECOND_NS if until.relation == "until" and not edge.clock else edge.begin_ns
        if since is not None:
            edge = self._edge(since, day, self._now_ns if until_ns is None else until_ns)
            since_ns = self._begun(edge.end_ns if since.relation == "after" and not edge.clock else edge.begin_ns)
        span = self._closed(since, until, Span(since_ns, until_ns), day)
        if span.since_ns is not None and span.until_ns is not None and span.until_ns < span.since_ns:
            raise self._backwards()  # "yesterday from today"
        return span

    def _closed(self, since: Moment | None, until: Moment | None, span: Span, day: Stretch | None) -> Span:
        """With the side that is left open bounded by "shortly", or by the day."""
        one = since or until
        assert one is not None, "one side is bounded"
        day = self._window(one, None) if one.day_behind else day
        if since is not None and span.since_ns is not None and span.until_ns is None:
            if since.short:
                return span._replace(until_ns=span.since_ns + _SHORT_NS)
            return span._replace(until_ns=min(day.end_ns - SECOND_NS, self._now_ns)) if day else span
        if until is not None and span.until_ns is not None and span.since_ns is None:
            if until.short:
                return span._replace(since_ns=span.until_ns - _SHORT_NS)
            return span._replace(since_ns=day.begin_ns) if day else span
        return span

    def _edge(self, moment: Moment, day: Stretch | None, limit_ns: int) -> Stretch:
        window = self._window(moment, None if moment.period else day)
        edges = self._edges(moment, window)
        if not edges:
            raise TimeSpanError(f"{self._words} names a time that is not in it; leave out one of the two")
        return next((e for e in edges if e.begin_ns <= limit_ns), edges[-1])

    def _begun(self, begin_ns: int) -> int:
        if begin_ns > self._now_ns:
            raise self._reader.not_yet(self._words)
        return begin_ns

    def _backwards(self) -> TimeSpanError:
        return TimeSpanError(f"the span {self._words!r} ends before it begins; name the earlier time first")


def _slack(length_ns: int) -> int:
    return _SLACK_NS if length_ns == SECOND_NS else 0
