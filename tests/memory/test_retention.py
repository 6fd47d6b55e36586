"""What is dropped, and when: by age, by bytes, and whether the clock may be believed."""

from __future__ import annotations

import msgspec
import pytest

from longwatch.memory.retention import Day, Dropping, Limit, Retention, RetentionClock, over_limit, too_old
from longwatch.memory.settings import MemoryConfig

from .blocks import DAY_NS, MORNING_NS

MARCH_6 = MORNING_NS + 4 * DAY_NS
SECOND_NS = 1_000_000_000
DAYS = [Day("a", f"2026-03-{d:02}", 100, 60, last_id=d) for d in range(1, 6)] + [Day("b", "2026-01-01", 50, 10)]


class Clocks:
    """A time of day and a counter that move only when they are told to."""

    def __init__(self, wall_ns: int) -> None:
        self.wall_ns, self.counter = wall_ns, 1000.0

    def go_on(self, seconds: float) -> None:
        self.wall_ns += round(seconds * SECOND_NS)
        self.counter += seconds

    def clock(self, newest_stored_ns: int) -> RetentionClock:
        return RetentionClock(newest_stored_ns, lambda: self.wall_ns, lambda: self.counter)

    def retention(self, newest_stored_ns: int, **memory: object) -> Retention:
        return Retention(msgspec.convert(memory, MemoryConfig), self.clock(newest_stored_ns))


def names(dropping: list[Dropping]) -> list[tuple[str, str]]:
    return [(each.stream, each.day) for each in dropping]


def old_at(days: list[Day], now_ns: int, keep_days: float, **options: object) -> list[tuple[str, str]]:
    found = too_old(days, now_ns=now_ns, keep_days=keep_days, **options)  # type: ignore[arg-type]
    return [name for name, each in zip(names(found), found, strict=True) if each.at_ns <= now_ns]


def test_whole_days_get_too_old_and_the_newest_never() -> None:
    assert old_at(DAYS, MARCH_6, 3) == [("a", "2026-03-01"), ("a", "2026-03-02")]
    assert old_at(DAYS, MARCH_6, 0) == []
    assert old_at(DAYS, MARCH_6 + 400 * DAY_NS, 3) == [("a", f"2026-03-{d:02}") for d in range(1, 5)]


def test_a_day_counts_from_when_it_was_stored_not_only_from_when_it_was_seen() -> None:
    days = [Day("old", f"2020-05-{d:02}", 1, 1, stored_ns=MARCH_6 - d * DAY_NS, last_id=d) for d in range(1, 6)]
    assert old_at(days, MARCH_6, 30) == []
    assert old_at(days, MARCH_6, 2.5) == [("old", "2020-05-03"), ("old", "2020-05-04")]


def test_the_day_that_is_written_stays_whatever_its_date() -> None:
    days = [Day("a", "2026-03-01", 100, 60, last_id=90), Day("a", "2031-01-01", 100, 60, last_id=80)]
    assert old_at(days, MARCH_6 + 4000 * DAY_NS, 1) == [("a", "2031-01-01")]
    assert [day.day for day, _ in over_limit(days, disk=Limit(1, 0), content=None)] == ["2031-01-01"]


def test_of_a_stream_that_nobody_watches_the_last_day_expires_too() -> None:
    assert old_at(DAYS, MARCH_6, 3, watched=["a"])[0] == ("b", "2026-01-01")
    assert over_limit(DAYS, disk=Limit(549, 549), content=None, watched=["a"])[0][0].stream == "b"


@pytest.mark.parametrize(
    ("disk", "content", "dropped"),
    [
        (Limit(550, 400), None, 0),  # all of it is taken, no more
        (Limit(549, 549), None, 1),
        (Limit(549, 400), None, 2),  # down to the low water, not only below the high
        (None, Limit(309, 200), 2),
        (Limit(549, 500), Limit(249, 130), 3),  # one limit after the other
        (Limit(1, 0), None, 4),
    ],
)
def test_above_high_water_the_oldest_days_go_until_low_water(
    disk: Limit | None, content: Limit | None, dropped: int
) -> None:
    gone = [(day.stream, day.day) for day, _ in over_limit(DAYS, disk=disk, content=content)]
    assert gone == [("a", f"2026-03-{d:02}") for d in range(1, dropped + 1)]


def test_limits_are_shares_of_the_high_water_and_none_where_there_is_none() -> None:
    assert Limit.of(1000, 0.9) == Limit(1000, 900)
    assert Limit.of(0, 0.9) is None


def test_a_day_is_named_before_it_goes_and_nothing_goes_in_the_first_minutes() -> None:
    clocks = Clocks(MARCH_6)
    retention = clocks.retention(MARCH_6 - SECOND_NS, keep_days=3)
    assert retention.due(DAYS, ["a", "b"]) == []
    named = retention.dropping
    assert [each.day for each in named] == ["2026-03-01", "2026-03-02", "2026-03-03"]  # the third within a day
    assert {each.at_ns for each in named[:2]} == {MARCH_6 + 600 * SECOND_NS}
    assert {each.reason for each in named} == {"memory.keep_days: older than 3 days"}
    clocks.go_on(599)
    assert retention.due(DAYS, ["a", "b"]) == []
    clocks.go_on(2)
    assert names(retention.due(DAYS, ["a", "b"])) == [("a", "2026-03-01"), ("a", "2026-03-02")]
    assert [each.day for each in retention.dropping] == ["2026-03-03"]


def test_a_day_that_will_be_too_old_within_a_day_is_named_with_its_hour() -> None:
    clocks = Clocks(MARCH_6)
    retention = clocks.retention(MARCH_6, keep_days=4)
    retention.due(DAYS, ["a", "b"])
    end_of_march_1 = MORNING_NS - 9 * 3600 * SECOND_NS - 1
    assert [(each.day, each.at_ns) for each in retention.dropping] == [
        ("2026-03-01", MARCH_6 + 600 * SECOND_NS),
        ("2026-03-02", end_of_march_1 + 5 * DAY_NS),
    ]


def test_bytes_need_no_clock() -> None:
    retention = Clocks(MARCH_6 + 4000 * DAY_NS).retention(MARCH_6, keep_days=3, disk_bytes=549, low_water=1)
    (first,) = retention.due(DAYS, ["a", "b"])
    assert (first.day, first.reason) == ("2026-03-01", "memory.disk_bytes: 550 bytes of 549 are taken")


@pytest.mark.parametrize("jump_seconds", [-7200, 7200, 4000 * 86_400])
def test_after_a_jump_of_the_clock_age_waits_for_a_day(jump_seconds: int) -> None:
    clocks = Clocks(MARCH_6)
    retention = clocks.retention(MARCH_6, keep_days=0.01)
    retention.due(DAYS, ["a", "b"])
    clocks.go_on(3600)
    clocks.wall_ns += jump_seconds * SECOND_NS
    assert retention.due(DAYS, ["a", "b"]) == []
    clocks.go_on(86_399)
    assert retention.due(DAYS, ["a", "b"]) == []
    clocks.go_on(2)
    assert len(retention.due(DAYS, ["a", "b"])) == 4


def test_a_clock_that_is_slewed_a_little_is_believed() -> None:
    clocks = Clocks(MARCH_6)
    clock = clocks.clock(MARCH_6)
    for _ in range(60):
        clocks.go_on(60)
        clocks.wall_ns += SECOND_NS
        clock.waits_seconds()
    assert clock.waits_seconds() == 0
    assert not clock.is_doubtful


def test_a_start_long_after_anything_was_stored_doubts_the_clock() -> None:
    clocks = Clocks(MARCH_6)
    assert clocks.clock(MARCH_6 - 2 * DAY_NS).is_doubtful
    assert not clocks.clock(MARCH_6 - DAY_NS // 2).is_doubtful
    assert not clocks.clock(0).is_doubtful  # nothing was ever stored


def test_an_age_beyond_all_calendars_keeps_for_ever() -> None:
    assert too_old(DAYS, now_ns=MARCH_6 + 4000 * DAY_NS, keep_days=1e10) == []
