"""`Bounds`: the one span that the times named in a sentence make together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ..errors import TimeSpanError
from .localtime import MINUTE_NS, Stretch
from .mentions import TimeMention
from .reader import TimeReader
from .span import SECOND_NS, Span

_SLACK_NS = 2 * SECOND_NS  # on either side of a time that was said to the second
_ABOUT_SECOND_NS, _ABOUT_NS = MINUTE_NS, 15 * MINUTE_NS
_SHORT_NS = 15 * MINUTE_NS
_DAY_NS = 24 * 60 * MINUTE_NS


class Bounds:
    """Makes a span of times. A day, or part of one, that stands alone is the day of every clock time in the sentence.

    Args:
        words: of the sentence that name the times, for error messages.
    """

    def __init__(self, reader: TimeReader, words: str) -> None:
        self._reader, self._words = reader, words
        self._local, self._now_ns = reader.local, reader.local.now_ns

    def span(self, mentions: Sequence[TimeMention]) -> Span:
        """The span: from one time to the next, else at one, else since or until one.

        Raises:
            TimeSpanError: it is in the future, no clock showed it, or it ends before it begins.
        """
        day = self._find_day([m for m in mentions if not m.is_clock and m.relation in ("", "at")])
        for first, last in itertools.pairwise(mentions):
            if last.relation == "to":
                return self._span_between(first, last, day)
        for mention in mentions:
            if mention.is_clock and mention.relation in ("", "at"):
                return self._span_at(mention, day)
        since = next((m for m in mentions if m.relation in ("since", "after")), None)
        until = next((m for m in mentions if m.relation in ("until", "before")), None)
        if since is None and until is None:
            assert day is not None, f"{self._words!r} bounds nothing"
            return Span(self._check_begun(day.begin_ns), min(day.end_ns - SECOND_NS, self._now_ns))
        return self._span_outside(since, until, day)

    def _find_day(self, alone: Sequence[TimeMention]) -> Stretch | None:
        """Yesterday, this morning. "In the evening" and "yesterday" make one, even apart from each other."""
        period = next((m.period for m in alone if m.period is not None), None)
        part = next((m.part for m in alone if m.part), "")
        return self._reader.part(part, period) if part else period

    def _find_window(self, mention: TimeMention, day: Stretch | None) -> Stretch | None:
        """Where a clock time is looked for; None is the last days."""
        period = mention.period or day
        return self._reader.part(mention.part, period) if mention.part else period

    def _span_between(self, first: TimeMention, last: TimeMention, day: Stretch | None) -> Span:
        """The shortest span from one time to the other; among equally short ones, the latest within one day."""
        own = self._find_window(last, None)
        within = self._find_window(first, day) or own
        starts = [s for s in self._find_edges(first, within) if s.begin_ns <= self._now_ns]
        if not starts:
            raise self._reader.future_error(self._words)
        behind = own or (within and Stretch(within.begin_ns, within.end_ns + _DAY_NS))
        pairs = [(s, e) for s in starts for e in self._find_edges(last, behind) if e.begin_ns >= s.begin_ns]
        if not pairs and first.period is not None and first.period.weekly:  # "from Friday to Monday", on a Saturday
            return self._span_between(first._replace(period=self._local.week_before(first.period)), last, day)
        if not pairs:
            raise self._order_error()
        start, end = min(pairs, key=self._unlikely)
        until_ns = end.end_ns if end.clock else end.end_ns - SECOND_NS
        return Span(start.begin_ns, until_ns if within is None else min(until_ns, self._now_ns))

    def _unlikely(self, pair: tuple[Stretch, Stretch]) -> tuple[int, bool, int]:
        """A sort key, least for the likeliest: "nine to five" is a day's work, "between two and three" the latest."""
        begin_ns, end_ns = pair[0].begin_ns, pair[1].begin_ns
        nightly = self._local.wall(begin_ns).date() != self._local.wall(end_ns).date()
        return end_ns - begin_ns, nightly, -end_ns

    def _find_edges(self, mention: TimeMention, within: Stretch | None) -> list[Stretch]:
        """What a time may mean, latest first."""
        if mention.clock is not None:
            return self._local.showing(mention.clock, within, edge=True)
        assert within is not None, "a time without a clock is a period"
        return [within]

    def _span_at(self, mention: TimeMention, day: Stretch | None) -> Span:
        if mention.clock is None:
            assert mention.period is not None, "a time without a clock is a period"
            shown = [mention.period]
            slack_ns = mention.period.slack_ns or _slack_of(mention.period.end_ns - mention.period.begin_ns)
        else:
            shown, slack_ns = (
                self._local.showing(mention.clock, self._find_window(mention, day)),
                _slack_of(mention.clock.length_ns),
            )
            if mention.about:
                slack_ns = _ABOUT_SECOND_NS if slack_ns else _ABOUT_NS
        if not shown:
            raise TimeSpanError(f"{self._words} contradicts itself; leave out one of the two times")
        been = [s for s in shown if s.begin_ns <= self._now_ns]
        if not been:
            raise self._reader.future_error(self._words)
        return Span(been[0].begin_ns - slack_ns, been[0].end_ns - SECOND_NS + slack_ns)

    def _span_outside(self, since: TimeMention | None, until: TimeMention | None, day: Stretch | None) -> Span:
        """Since one time, or until one, or both. If a side is open, a day that was named closes it."""
        since_ns = until_ns = None
        if until is not None:
            edge = self._choose_edge(until, day, self._now_ns)
            until_ns = edge.end_ns - SECOND_NS if until.relation == "until" and not edge.clock else edge.begin_ns
        if since is not None:
            edge = self._choose_edge(since, day, self._now_ns if until_ns is None else until_ns)
            since_ns = self._check_begun(edge.end_ns if since.relation == "after" and not edge.clock else edge.begin_ns)
        span = self._close(since, until, Span(since_ns, until_ns), day)
        if span.since_ns is not None and span.until_ns is not None and span.until_ns < span.since_ns:
            raise self._order_error()  # "yesterday from today"
        return span

    def _close(self, since: TimeMention | None, until: TimeMention | None, span: Span, day: Stretch | None) -> Span:
        """The span with its open side closed by "shortly", or by the day."""
        one = since or until
        assert one is not None, "one side is bounded"
        day = self._find_window(one, None) if one.day_behind else day
        if since is not None and span.since_ns is not None and span.until_ns is None:
            if since.short:
                return span._replace(until_ns=span.since_ns + _SHORT_NS)
            return span._replace(until_ns=min(day.end_ns - SECOND_NS, self._now_ns)) if day else span
        if until is not None and span.until_ns is not None and span.since_ns is None:
            if until.short:
                return span._replace(since_ns=span.until_ns - _SHORT_NS)
            return span._replace(since_ns=day.begin_ns) if day else span
        return span

    def _choose_edge(self, mention: TimeMention, day: Stretch | None, limit_ns: int) -> Stretch:
        window = self._find_window(mention, None if mention.period else day)
        edges = self._find_edges(mention, window)
        if not edges:
            raise TimeSpanError(f"{self._words} contradicts itself; leave out one of the two times")
        return next((e for e in edges if e.begin_ns <= limit_ns), edges[-1])

    def _check_begun(self, begin_ns: int) -> int:
        if begin_ns > self._now_ns:
            raise self._reader.future_error(self._words)
        return begin_ns

    def _order_error(self) -> TimeSpanError:
        return TimeSpanError(f"the span {self._words!r} ends before it begins; name the earlier time first")


def _slack_of(length_ns: int) -> int:
    return _SLACK_NS if length_ns == SECOND_NS else 0
