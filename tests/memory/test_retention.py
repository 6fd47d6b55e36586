"""What is dropped, and when: by age, by bytes, and whether the clock may be believed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from longwatch.memory.book import Book
from longwatch.memory.retention import Dropping, Limit, Retention, StoredDay, over_limit, too_old
from longwatch.memory.retentionclock import RetentionClock
from longwatch.memory.settings import MemoryConfig

from .blocks import DAY_NS, MORNING_NS

MARCH_6 = MORNING_NS + 4 * DAY_NS
SECOND_NS = 1_000_000_000
DAYS = [StoredDay("a", f"2026-03-{d:02}", 100, 60, last_id=d) for d in range(1, 6)] + [
    StoredDay("b", "2026-01-01", 50, 10)
]


class Clocks:
    """A time of day and a counter that move only when they are told to, and a store's book."""

    def __init__(self, book: Book) -> None:
        self.book, self.wall_ns, self.counter = book, MARCH_6, 1000.0

    def go_on(self, seconds: float) -> None:
        self.wall_ns += round(seconds * SECOND_NS)
        self.counter += seconds

    def clock(self, newest_stored_ns: int, keep_days: float = 30) -> RetentionClock:
        """As a start makes it."""
        return RetentionClock(self.book, newest_stored_ns, keep_days, lambda: self.wall_ns, lambda: self.counter)

    def retention(self, newest_stored_ns: int, keep_days: float = 30, **memory: object) -> Retention:
        config = msgspec.convert({"keep_days": keep_days, **memory}, MemoryConfig)
        return Retention(config, self.clock(newest_stored_ns, keep_days))

    def run(self, clock: RetentionClock, days: float) -> None:
        """Goes on so long, and looks every half an hour as a daemon does."""
        for _ in range(round(days * 48)):
            self.go_on(1800)
            clock.waits_seconds()


@pytest.fixture
def clocks(tmp_path: Path) -> Iterator[Clocks]:
    book = Book(tmp_path)
    yield Clocks(book)
    book.close()


def names(dropping: list[Dropping]) -> list[tuple[str, str]]:
    return [(each.stream, each.day) for each in dropping]


def old_at(days: list[StoredDay], now_ns: int, keep_days: float, **options: object) -> list[tuple[str, str]]:
    found = too_old(days, now_ns=now_ns, keep_days=keep_days, **options)  # type: ignore[arg-type]
    return [name for name, each in zip(names(found), found, strict=True) if each.at_ns <= now_ns]


def test_whole_days_get_too_old_and_the_newest_never() -> None:
    assert old_at(DAYS, MARCH_6, 3) == [("a", "2026-03-01"), ("a", "2026-03-02")]
    assert old_at(DAYS, MARCH_6, 0) == []
    assert old_at(DAYS, MARCH_6 + 400 * DAY_NS, 3) == [("a", f"2026-03-{d:02}") for d in range(1, 5)]


def test_a_day_counts_from_when_it_was_stored_not_only_from_when_it_was_seen() -> None:
    days = [StoredDay("old", f"2020-05-{d:02}", 1, 1, stored_ns=MARCH_6 - d * DAY_NS, last_id=d) for d in range(1, 6)]
    assert old_at(days, MARCH_6, 30) == []
    assert old_at(days, MARCH_6, 2.5) == [("old", "2020-05-03"), ("old", "2020-05-04")]


def test_the_day_that_is_written_stays_whatever_its_date() -> None:
    days = [StoredDay("a", "2026-03-01", 100, 60, last_id=90), StoredDay("a", "2031-01-01", 100, 60, last_id=80)]
    assert old_at(days, MARCH_6 + 4000 * DAY_NS, 1) == [("a", "2031-01-01")]
    assert [day.day for day, _ in over_limit(days, disk=Limit(1, 0), content=None, now_ns=MARCH_6)] == ["2031-01-01"]


def test_of_a_stream_that_nobody_watches_the_last_day_expires_too() -> None:
    assert old_at(DAYS, MARCH_6, 3, watched=["a"])[0] == ("b", "2026-01-01")
    assert over_limit(DAYS, disk=Limit(549, 549), content=None, now_ns=MARCH_6, watched=["a"])[0][0].stream == "b"


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
    gone = [(day.stream, day.day) for day, _ in over_limit(DAYS, disk=disk, content=content, now_ns=MARCH_6)]
    assert gone == [("a", f"2026-03-{d:02}") for d in range(1, dropped + 1)]


def test_limits_are_shares_of_the_high_water_and_none_where_there_is_none() -> None:
    assert Limit.of(1000, 0.9) == Limit(1000, 900)
    assert Limit.of(0, 0.9) is None


def test_a_day_is_named_before_it_goes_and_nothing_goes_in_the_first_minutes(clocks: Clocks) -> None:
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


def test_a_day_that_will_be_too_old_within_a_day_is_named_with_its_hour(clocks: Clocks) -> None:
    retention = clocks.retention(MARCH_6, keep_days=4)
    retention.due(DAYS, ["a", "b"])
    end_of_march_1 = MORNING_NS - 9 * 3600 * SECOND_NS - 1
    assert [(each.day, each.at_ns) for each in retention.dropping] == [
        ("2026-03-01", MARCH_6 + 600 * SECOND_NS),
        ("2026-03-02", end_of_march_1 + 5 * DAY_NS),
    ]


def test_above_a_limit_in_bytes_a_day_is_named_before_it_goes_too_whatever_the_clock_does(clocks: Clocks) -> None:
    clocks.wall_ns += 4000 * DAY_NS
    retention = clocks.retention(MARCH_6, keep_days=3, disk_bytes=549, low_water=1)
    assert retention.due(DAYS, ["a", "b"]) == []
    named = {each.day: each for each in retention.dropping}
    assert named["2026-03-01"].reason == "memory.disk_bytes: 550 bytes of 549 are taken"
    clocks.go_on(599)
    clocks.wall_ns += DAY_NS  # a jump is no notice
    assert retention.due(DAYS, ["a", "b"]) == []
    clocks.go_on(2)
    assert names(retention.due(DAYS, ["a", "b"])) == [("a", "2026-03-01")]


def test_on_a_full_disk_what_is_above_a_limit_goes_at_once_and_nothing_for_its_age(clocks: Clocks) -> None:
    retention = clocks.retention(MARCH_6, keep_days=3, disk_bytes=549, low_water=1)
    assert names(retention.due(DAYS, ["a", "b"], disk_is_full=True)) == [("a", "2026-03-01")]
    assert [each.day for each in retention.dropping] == ["2026-03-02", "2026-03-03"]


def test_a_notice_is_as_long_as_the_configuration_says(clocks: Clocks) -> None:
    assert len(clocks.retention(MARCH_6, keep_days=3, notice_seconds=0).due(DAYS, ["a", "b"])) == 2
    retention = clocks.retention(MARCH_6, keep_days=3, notice_seconds=3600)
    retention.due(DAYS, ["a", "b"])
    clocks.go_on(3599)
    assert retention.due(DAYS, ["a", "b"]) == []
    clocks.go_on(2)
    assert len(retention.due(DAYS, ["a", "b"])) == 2


def test_above_a_limit_the_day_that_was_stored_first_goes_first_whatever_its_date() -> None:
    days = [
        StoredDay("a", "2031-01-01", 100, 60, stored_ns=MARCH_6 - 4 * DAY_NS, last_id=10),
        StoredDay("a", "2026-03-03", 100, 60, stored_ns=MARCH_6 - 3 * DAY_NS, last_id=20),
        StoredDay("b", "2020-05-01", 100, 60, stored_ns=MARCH_6 - 2 * DAY_NS, last_id=90),  # an old recording
        StoredDay("a", "2026-03-05", 100, 60, stored_ns=MARCH_6 - DAY_NS, last_id=30),
    ]
    over = over_limit(days, disk=Limit(1, 0), content=None, now_ns=MARCH_6, watched=["a"])
    assert [day.day for day, _ in over] == ["2031-01-01", "2026-03-03", "2020-05-01"]


def test_a_day_that_was_stored_under_a_clock_ahead_goes_before_those_that_came_later() -> None:
    days = [
        StoredDay("a", "2026-02-20", 100, 60, stored_ns=MARCH_6 - 14 * DAY_NS, last_id=5),
        StoredDay("a", "2031-01-01", 100, 60, stored_ns=MARCH_6 + 2000 * DAY_NS, last_id=10),
        StoredDay("a", "2026-03-03", 100, 60, stored_ns=MARCH_6 - 3 * DAY_NS, last_id=20),
        StoredDay("a", "2026-03-06", 100, 60, stored_ns=MARCH_6, last_id=30),
    ]
    over = over_limit(days, disk=Limit(1, 0), content=None, now_ns=MARCH_6)
    assert [day.day for day, _ in over] == ["2026-02-20", "2031-01-01", "2026-03-03"]


@pytest.mark.parametrize("jump_seconds", [-7200, 7200, 4000 * 86_400])
def test_after_a_jump_of_the_clock_age_waits_for_a_day(clocks: Clocks, jump_seconds: int) -> None:
    retention = clocks.retention(MARCH_6, keep_days=0.01)
    retention.due(DAYS, ["a", "b"])
    clocks.go_on(3600)
    clocks.wall_ns += jump_seconds * SECOND_NS
    assert retention.due(DAYS, ["a", "b"]) == []
    clocks.go_on(86_399)
    assert retention.due(DAYS, ["a", "b"]) == []
    clocks.go_on(2)
    assert len(retention.due(DAYS, ["a", "b"])) == 4


@pytest.mark.parametrize(("jump_days", "doubted_days"), [(2.5, 2.5), (40, 30), (365, 30)])
def test_a_jump_ahead_is_doubted_for_as_long_as_it_is_wide_but_not_longer_than_days_are_kept(
    clocks: Clocks, jump_days: float, doubted_days: float
) -> None:
    clock = clocks.clock(MARCH_6)
    clocks.run(clock, 1)
    clocks.wall_ns += round(jump_days * DAY_NS)
    assert clock.waits_seconds() == pytest.approx(doubted_days * 86_400)
    clocks.run(clock, doubted_days - 0.1)
    assert clock.is_doubtful
    clocks.run(clock, 0.2)
    assert not clock.is_doubtful


def test_under_a_clock_a_year_ahead_only_what_counting_proves_too_old_is_dropped(clocks: Clocks) -> None:
    retention = clocks.retention(MARCH_6, keep_days=30)
    clocks.wall_ns += 365 * DAY_NS
    for _ in range(29 * 24):
        assert retention.due(DAYS, ["a", "b"]) == []
        clocks.go_on(3600)
    for _ in range(48):
        last = retention.due(DAYS, ["a", "b"])
        clocks.go_on(3600)
    assert len(last) == 4


def test_a_clock_that_is_back_is_believed_again(clocks: Clocks) -> None:
    clock = clocks.clock(MARCH_6)
    clocks.wall_ns += 365 * DAY_NS
    clocks.run(clock, 3)
    assert clock.is_doubtful
    clocks.wall_ns -= 365 * DAY_NS
    assert not clock.is_doubtful


def test_a_doubt_outlives_starts_and_ends_once_it_was_lived_through(clocks: Clocks) -> None:
    clocks.wall_ns += 400 * DAY_NS
    stored_ns = MARCH_6
    for _ in range(29):
        clock = clocks.clock(stored_ns)
        assert clock.is_doubtful
        clocks.run(clock, 1)
        stored_ns = clocks.wall_ns  # under the clock that may be wrong
        clocks.go_on(7200)  # the daemon is down
    clocks.run(clocks.clock(stored_ns), 1.5)
    assert not clocks.clock(stored_ns).is_doubtful


def test_a_doubt_is_over_where_the_clock_is_right_again_at_the_next_start(clocks: Clocks) -> None:
    clocks.clock(MARCH_6)
    clocks.wall_ns -= 20_000 * DAY_NS  # a machine whose clock stands still while it is off
    clock = clocks.clock(MARCH_6)
    assert clock.is_doubtful
    clocks.go_on(30)
    clocks.wall_ns += 20_000 * DAY_NS
    assert not clock.is_doubtful
    clocks.wall_ns += 365 * DAY_NS
    assert clocks.clock(MARCH_6).is_doubtful
    clocks.wall_ns -= 365 * DAY_NS
    assert not clocks.clock(MARCH_6).is_doubtful


def test_a_machine_that_is_mostly_off_drops_its_old_days_in_the_end(clocks: Clocks) -> None:
    believed = 0
    for _ in range(100):
        clock = clocks.clock(MARCH_6)
        clocks.run(clock, 0.5)
        believed += not clock.is_doubtful
        clocks.wall_ns += 5 * DAY_NS
        clocks.counter = 0.0
    assert 0 < believed < 5


def test_time_that_the_machine_sleeps_counts(tmp_path: Path) -> None:
    assert RetentionClock(Book(tmp_path), 0, 30).counted_seconds == pytest.approx(
        time.clock_gettime(time.CLOCK_BOOTTIME), abs=5
    )


def test_a_clock_that_is_slewed_a_little_is_believed(clocks: Clocks) -> None:
    clock = clocks.clock(MARCH_6)
    for _ in range(60):
        clocks.go_on(60)
        clocks.wall_ns += SECOND_NS
        clock.waits_seconds()
    assert clock.waits_seconds() == 0
    assert not clock.is_doubtful


@pytest.mark.parametrize(("stored_ns", "is_doubtful"), [
    (MARCH_6 - 2 * DAY_NS, True), (MARCH_6 - DAY_NS // 2, False), (0, False)
])  # fmt: skip
def test_a_first_start_long_after_anything_was_stored_doubts_the_clock(
    clocks: Clocks, stored_ns: int, is_doubtful: bool
) -> None:
    assert clocks.clock(stored_ns).is_doubtful is is_doubtful


def test_an_age_beyond_all_calendars_keeps_for_ever() -> None:
    assert too_old(DAYS, now_ns=MARCH_6 + 4000 * DAY_NS, keep_days=1e10) == []
