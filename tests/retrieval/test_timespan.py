"""The spans that words name, on a fixed clock."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from longwatch.retrieval.errors import TimeSpanError
from longwatch.retrieval.timespan import Span, span_in_words

NOW_NS = int(datetime(2026, 3, 2, 14, 30, tzinfo=UTC).timestamp()) * 10**9


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("question", "since", "until"),
    [
        ("was the door open at 14:03:20?", "2026-03-02T14:03:18", "2026-03-02T14:03:22"),
        ("what was there at 14:03?", "2026-03-02T14:03:00", "2026-03-02T14:03:59"),
        ("at the time 14:03:20 was the gate open", "2026-03-02T14:03:18", "2026-03-02T14:03:22"),
        ("What was there At 9:05", "2026-03-02T09:05:00", "2026-03-02T09:05:59"),
        ("what was there at 23:15?", "2026-03-01T23:15:00", "2026-03-01T23:15:59"),
        ("did a van come between 14:00 and 14:10?", "2026-03-02T14:00:00", "2026-03-02T14:11:00"),
        ("who came from 23:50 to 00:10?", "2026-03-01T23:50:00", "2026-03-02T00:11:00"),
        ("any dogs since 13:00?", "2026-03-02T13:00:00", None),
        ("any dogs after 15:00?", "2026-03-01T15:00:00", None),
        ("was it open before 14:00?", None, "2026-03-02T14:00:00"),
    ],
)
def test_plain_clock_times_are_the_latest_that_have_been(question: str, since: str | None, until: str | None) -> None:
    assert span_in_words(question, NOW_NS) == Span(since and at(since), until and at(until))


@pytest.mark.parametrize("question", ["is the door open now?", "what colour was the car?", "was it at 7?", ""])
def test_a_question_without_a_clock_time_names_no_span(question: str) -> None:
    assert span_in_words(question, NOW_NS) is None


@pytest.mark.parametrize("question", ["was it open at 25:00?", "was it open at 14:61?", "at 14:03:75?"])
def test_a_time_that_no_clock_shows_is_said_to_be_none(question: str) -> None:
    with pytest.raises(TimeSpanError, match="is not a time of day"):
        span_in_words(question, NOW_NS)


def test_a_block_is_touched_if_any_part_of_it_lies_in_the_span() -> None:
    span = Span(10, 20)
    assert [span.touches(*block) for block in ((0, 9), (0, 10), (15, 15), (20, 90), (21, 22), (0, 99))] == [
        False,
        True,
        True,
        True,
        False,
        True,
    ]
