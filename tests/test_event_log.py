"""Events: numbered one by one, above those of an earlier run, and kept for clients that missed some."""

from __future__ import annotations

import time

from longwatch.daemon.server.event_log import EVENTS_KEPT, EventLog


def log_of(count: int) -> EventLog:
    log = EventLog()
    for number in range(count):
        log.add("yard", "block", number, number, str(number))
    return log


def test_numbers_rise_by_one_and_begin_above_those_of_an_earlier_run() -> None:
    earlier = list(log_of(5).take_new())
    time.sleep(0.001)
    events = list(log_of(3).take_new())
    assert [event.number for event in events] == list(range(events[0].number, events[0].number + 3))
    assert [event.text for event in events] == ["0", "1", "2"]
    assert events[0].number > earlier[-1].number


def test_an_event_is_taken_once_and_can_be_asked_for_again() -> None:
    log = log_of(3)
    first, *_ = log.take_new()
    assert list(log.take_new()) == []
    found = log.since(first.number, "1")
    assert ([event.text for event in found.events], found.lost) == (["1", "2"], False)
    assert found.newest == first.number + 2


def test_an_event_that_was_not_taken_yet_is_not_shown() -> None:
    log = log_of(3)
    assert log.since(0, "1").events == []


def test_a_reply_holds_a_thousand_events_and_the_next_goes_on_behind_it() -> None:
    log = log_of(1500)
    first, *_ = log.take_new()
    one = log.since(first.number - 1, "1")
    two = log.since(one.events[-1].number, "2")
    assert [event.text for event in (*one.events, *two.events)] == [str(number) for number in range(1500)]


def test_whoever_asks_for_events_that_are_no_longer_kept_hears_that_some_are_lost() -> None:
    log = log_of(EVENTS_KEPT + 10)
    first, *_ = log.take_new()
    assert log.since(first.number - 1, "1").lost
    assert log.since(first.number - 1, "1").events[0].text == "10"
    assert not log.since(first.number + 9, "1").lost
