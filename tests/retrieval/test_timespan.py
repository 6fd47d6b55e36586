"""What time a question is about, on fixed clocks in two time zones and over both changes of daylight saving."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longwatch.retrieval.errors import TimeSpanError
from longwatch.retrieval.time.reference import read_span, understand
from longwatch.retrieval.time.span import SECOND_NS, Span
from longwatch.yard.phrases import HELD_OUT_WORDS, PHRASES, SEEN_WORDS

from .plain_clocks import plain_span

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
HOUR_NS = 3600 * SECOND_NS


def at(text: str, zone: tzinfo, fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()) * SECOND_NS


def span(text: str, now: str, zone: tzinfo) -> Span | None:
    return understand(text, at(now, zone), zone).span


def local(text: str, now: str, zone: tzinfo) -> tuple[str | None, ...]:
    """The span in local time."""
    found = span(text, now, zone)
    assert found is not None, f"{text} names no time"
    return tuple(ns and str(datetime.fromtimestamp(ns // SECOND_NS, zone).replace(tzinfo=None)) for ns in found)


ON_A_MONDAY_IN_BERLIN = "2026-03-02 14:30"
IN_BERLIN = [
    ("what was there at 14:03?", "2026-03-02 14:03:00", "2026-03-02 14:03:59"),
    ("was the door open at 14:03:20?", "2026-03-02 14:03:18", "2026-03-02 14:03:22"),
    ("at the time 14:03:20 was the gate open", "2026-03-02 14:03:18", "2026-03-02 14:03:22"),
    ("What was there At 9:05", "2026-03-02 09:05:00", "2026-03-02 09:05:59"),
    ("what was there at 23:15?", "2026-03-01 23:15:00", "2026-03-01 23:15:59"),
    ("was it open at 14h05?", "2026-03-02 14:05:00", "2026-03-02 14:05:59"),
    ("was it open at 3pm?", "2026-03-01 15:00:00", "2026-03-01 15:00:59"),
    ("who came at 8 a.m.?", "2026-03-02 08:00:00", "2026-03-02 08:00:59"),
    ("who came at eight pm", "2026-03-01 20:00:00", "2026-03-01 20:00:59"),
    ("was it open at noon?", "2026-03-02 12:00:00", "2026-03-02 12:00:59"),
    ("who came at midnight", "2026-03-02 00:00:00", "2026-03-02 00:00:59"),
    ("was it open at half past two?", "2026-03-02 14:30:00", "2026-03-02 14:30:59"),
    ("was it open at quarter to three", "2026-03-02 02:45:00", "2026-03-02 02:45:59"),
    ("who came at a quarter past nine", "2026-03-02 09:15:00", "2026-03-02 09:15:59"),
    ("who came at ten to seven", "2026-03-02 06:50:00", "2026-03-02 06:50:59"),
    ("was it open at 7 o'clock", "2026-03-02 07:00:00", "2026-03-02 07:00:59"),
    ("who came at seven in the evening?", "2026-03-01 19:00:00", "2026-03-01 19:00:59"),
    ("who came at eleven at night", "2026-03-01 23:00:00", "2026-03-01 23:00:59"),
    ("who came at 12 at night", "2026-03-02 00:00:00", "2026-03-02 00:00:59"),
    ("what was there around 3 pm?", "2026-03-01 14:45:00", "2026-03-01 15:15:59"),
    ("what was there at about 14:03:20", "2026-03-02 14:02:20", "2026-03-02 14:04:20"),
    ("who came shortly after 14:00", "2026-03-02 14:00:00", "2026-03-02 14:15:00"),
    ("who came just before noon", "2026-03-02 11:45:00", "2026-03-02 12:00:00"),
    ("did a van come between 14:00 and 14:10?", "2026-03-02 14:00:00", "2026-03-02 14:11:00"),
    ("who came from 23:50 to 00:10?", "2026-03-01 23:50:00", "2026-03-02 00:11:00"),
    ("what happened between 2 and 3 pm?", "2026-03-01 14:00:00", "2026-03-01 15:01:00"),
    ("what happened between two and three?", "2026-03-02 02:00:00", "2026-03-02 03:01:00"),
    ("who was there from 9 to 5?", "2026-03-01 09:00:00", "2026-03-01 17:01:00"),
    ("who was there from 9:30 till noon?", "2026-03-02 09:30:00", "2026-03-02 12:01:00"),
    ("between 11 and 1 pm who came", "2026-03-02 11:00:00", "2026-03-02 13:01:00"),
    ("who came between 10 am and 2", "2026-03-02 10:00:00", "2026-03-02 14:01:00"),
    ("who came between 9 and half past ten?", "2026-03-02 09:00:00", "2026-03-02 10:31:00"),
    ("who came from 10 pm to midnight", "2026-03-01 22:00:00", "2026-03-02 00:01:00"),
    ("2-3 pm: who came?", "2026-03-01 14:00:00", "2026-03-01 15:01:00"),
    ("14:00-14:10 who came", "2026-03-02 14:00:00", "2026-03-02 14:11:00"),
    ("any dogs since 13:00?", "2026-03-02 13:00:00", None),
    ("any dogs after 15:00?", "2026-03-01 15:00:00", None),
    ("any dogs since noon?", "2026-03-02 12:00:00", None),
    ("was it open before 14:00?", None, "2026-03-02 14:00:00"),
    ("was it open before 8 am?", None, "2026-03-02 08:00:00"),
    ("was it open after 10 pm?", "2026-03-01 22:00:00", None),
    ("any dogs until midnight?", None, "2026-03-02 00:00:00"),
    ("who came after 14:00 and before 14:10", "2026-03-02 14:00:00", "2026-03-02 14:10:00"),
    ("who came in the last ten minutes?", "2026-03-02 14:20:00", "2026-03-02 14:30:00"),
    ("WHO CAME IN THE LAST TEN MINUTES", "2026-03-02 14:20:00", "2026-03-02 14:30:00"),
    ("what happened in the past hour", "2026-03-02 13:30:00", "2026-03-02 14:30:00"),
    ("anything in the last 2 h?", "2026-03-02 12:30:00", "2026-03-02 14:30:00"),
    ("anything within the last half an hour", "2026-03-02 14:00:00", "2026-03-02 14:30:00"),
    ("who came over the last couple of hours", "2026-03-02 12:30:00", "2026-03-02 14:30:00"),
    ("who came in the last 3 days", "2026-02-27 14:30:00", "2026-03-02 14:30:00"),
    ("what happened during the last week", "2026-02-23 14:30:00", "2026-03-02 14:30:00"),
    ("what did you see ten minutes ago?", "2026-03-02 14:17:30", "2026-03-02 14:22:30"),
    ("was the door open half an hour ago?", "2026-03-02 13:52:30", "2026-03-02 14:07:30"),
    ("was it open an hour ago", "2026-03-02 13:15:00", "2026-03-02 13:45:00"),
    ("was it open an hour and a half ago", "2026-03-02 12:37:30", "2026-03-02 13:22:30"),
    ("was it open 90 s ago", "2026-03-02 14:28:07", "2026-03-02 14:28:52"),
    ("who came two hours ago", "2026-03-02 12:00:00", "2026-03-02 13:00:00"),
    ("did a van drive past two minutes ago", "2026-03-02 14:27:30", "2026-03-02 14:28:30"),
    ("what did it do more than an hour ago", None, "2026-03-02 13:30:00"),
    ("who came less than two hours ago", "2026-03-02 12:30:00", None),
    ("who came this morning?", "2026-03-02 05:00:00", "2026-03-02 11:59:59"),
    ("who came this afternoon", "2026-03-02 12:00:00", "2026-03-02 14:30:00"),
    ("any dogs last night?", "2026-03-01 17:00:00", "2026-03-02 05:59:59"),
    ("any dogs last evening", "2026-03-01 17:00:00", "2026-03-01 23:59:59"),
    ("what happened overnight", "2026-03-01 20:00:00", "2026-03-02 05:59:59"),
    ("what happened in the evening", "2026-03-01 17:00:00", "2026-03-01 23:59:59"),
    ("what happened during the night?", "2026-03-01 20:00:00", "2026-03-02 05:59:59"),
    ("how many vans today?", "2026-03-02 00:00:00", "2026-03-02 14:30:00"),
    ("how many vans came so far today", "2026-03-02 00:00:00", "2026-03-02 14:30:00"),
    ("what happened yesterday?", "2026-03-01 00:00:00", "2026-03-01 23:59:59"),
    ("what happened the day before yesterday", "2026-02-28 00:00:00", "2026-02-28 23:59:59"),
    ("what happened two days ago?", "2026-02-28 00:00:00", "2026-02-28 23:59:59"),
    ("who came a week ago", "2026-02-22 00:00:00", "2026-02-24 23:59:59"),
    ("who came on Monday?", "2026-02-23 00:00:00", "2026-02-23 23:59:59"),
    ("who came last Tuesday?", "2026-02-24 00:00:00", "2026-02-24 23:59:59"),
    ("What happened Friday?", "2026-02-27 00:00:00", "2026-02-27 23:59:59"),
    ("who came on monday night", "2026-02-23 17:00:00", "2026-02-24 05:59:59"),
    ("Sunday morning, who came?", "2026-03-01 05:00:00", "2026-03-01 11:59:59"),
    ("who came on Tuesday last week", "2026-02-24 00:00:00", "2026-02-24 23:59:59"),
    ("who came this Monday", "2026-03-02 00:00:00", "2026-03-02 14:30:00"),
    ("what happened this week?", "2026-03-02 00:00:00", "2026-03-02 14:30:00"),
    ("what happened last week?", "2026-02-23 00:00:00", "2026-03-01 23:59:59"),
    ("what happened at the weekend?", "2026-02-28 00:00:00", "2026-03-01 23:59:59"),
    ("what happened last month", "2026-02-01 00:00:00", "2026-02-28 23:59:59"),
    ("what happened this year", "2026-01-01 00:00:00", "2026-03-02 14:30:00"),
    ("what happened in January", "2026-01-01 00:00:00", "2026-01-31 23:59:59"),
    ("what happened in May 2025", "2025-05-01 00:00:00", "2025-05-31 23:59:59"),
    ("was it open yesterday at 14:05?", "2026-03-01 14:05:00", "2026-03-01 14:05:59"),
    ("at 14:05 yesterday was it open", "2026-03-01 14:05:00", "2026-03-01 14:05:59"),
    ("what happened yesterday between 2 and 3 pm", "2026-03-01 14:00:00", "2026-03-01 15:01:00"),
    ("what happened between two and three yesterday?", "2026-03-01 14:00:00", "2026-03-01 15:01:00"),
    ("what did you see yesterday in the yard between two and three", "2026-03-01 14:00:00", "2026-03-01 15:01:00"),
    ("what happened yesterday afternoon between two and three", "2026-03-01 14:00:00", "2026-03-01 15:01:00"),
    ("who came yesterday evening?", "2026-03-01 17:00:00", "2026-03-01 23:59:59"),
    ("who came yesterday evening at half past seven", "2026-03-01 19:30:00", "2026-03-01 19:30:59"),
    ("who came last night at 2 am", "2026-03-02 02:00:00", "2026-03-02 02:00:59"),
    ("who came between 11 pm and 2 am last night", "2026-03-01 23:00:00", "2026-03-02 02:01:00"),
    ("who came yesterday after 10 pm", "2026-03-01 22:00:00", "2026-03-01 23:59:59"),
    ("who came after 10 pm yesterday", "2026-03-01 22:00:00", "2026-03-01 23:59:59"),
    ("who came yesterday from 22:00 to 06:00", "2026-03-01 22:00:00", "2026-03-02 06:01:00"),
    ("who came from yesterday 22:00 to today 06:00", "2026-03-01 22:00:00", "2026-03-02 06:01:00"),
    ("who came since yesterday", "2026-03-01 00:00:00", None),
    ("who came until yesterday", None, "2026-03-01 23:59:59"),
    ("who came before yesterday", None, "2026-03-01 00:00:00"),
    ("who came since Friday at 9:00", "2026-02-27 09:00:00", None),
    ("who came between Friday and Sunday", "2026-02-27 00:00:00", "2026-03-01 23:59:59"),
    ("was it open on March 2nd at 14:05?", "2026-03-02 14:05:00", "2026-03-02 14:05:59"),
    ("who came on 2 March", "2026-03-02 00:00:00", "2026-03-02 14:30:00"),
    ("who came on the 1st of March", "2026-03-01 00:00:00", "2026-03-01 23:59:59"),
    ("who came on may 2", "2025-05-02 00:00:00", "2025-05-02 23:59:59"),
    ("who came on 28 February at 3pm", "2026-02-28 15:00:00", "2026-02-28 15:00:59"),
    ("who came on the morning of 1 March", "2026-03-01 05:00:00", "2026-03-01 11:59:59"),
    ("who came on 2026-02-27?", "2026-02-27 00:00:00", "2026-02-27 23:59:59"),
    ("who came on 2026-02-27 at 14:05", "2026-02-27 14:05:00", "2026-02-27 14:05:59"),
    ("who came on 1.3.2026", "2026-03-01 00:00:00", "2026-03-01 23:59:59"),
    ("who came on 13/02/2026", "2026-02-13 00:00:00", "2026-02-13 23:59:59"),
    ("who came on February 29th", "2024-02-29 00:00:00", "2024-02-29 23:59:59"),
    ("what was there at 2026-03-02T14:00", "2026-03-02 14:00:00", "2026-03-02 14:00:59"),
    ("what was there at 2026-03-02 14:00:05", "2026-03-02 14:00:03", "2026-03-02 14:00:07"),
    ("what happened 2026-03-02T12:00+00:00 to 2026-03-02T13:00+00:00", "2026-03-02 13:00:00", "2026-03-02 14:01:00"),
    ("2026-03-02T12:00Z/2026-03-02T13:00Z", "2026-03-02 13:00:00", "2026-03-02 14:01:00"),
    ("who came from 2026-03-01 18:00 to 20:00", "2026-03-01 18:00:00", "2026-03-01 20:01:00"),
    ("who came between today at 9:00 and today at 10:00", "2026-03-02 09:00:00", "2026-03-02 10:01:00"),
]
ON_A_WEDNESDAY_IN_NEW_YORK = "2026-07-15 09:20"
IN_NEW_YORK = [
    ("what was there at 14:03?", "2026-07-14 14:03:00", "2026-07-14 14:03:59"),
    ("was it open at 9:05:10", "2026-07-15 09:05:08", "2026-07-15 09:05:12"),
    ("who came at half past eight", "2026-07-15 08:30:00", "2026-07-15 08:30:59"),
    ("who came at three o'clock", "2026-07-15 03:00:00", "2026-07-15 03:00:59"),
    ("what happened between two and three", "2026-07-15 02:00:00", "2026-07-15 03:01:00"),
    ("who came between 8 and 9 this morning", "2026-07-15 08:00:00", "2026-07-15 09:01:00"),
    ("who was there from 9 to 5", "2026-07-14 09:00:00", "2026-07-14 17:01:00"),
    ("who came since midnight", "2026-07-15 00:00:00", None),
    ("who came before noon yesterday", "2026-07-14 00:00:00", "2026-07-14 12:00:00"),
    ("who came in the last two hours", "2026-07-15 07:20:00", "2026-07-15 09:20:00"),
    ("who came a quarter of an hour ago", "2026-07-15 09:01:15", "2026-07-15 09:08:45"),
    ("who came this morning", "2026-07-15 05:00:00", "2026-07-15 09:20:00"),
    ("who came yesterday afternoon", "2026-07-14 12:00:00", "2026-07-14 16:59:59"),
    ("any dogs last night", "2026-07-14 17:00:00", "2026-07-15 05:59:59"),
    ("how many vans today", "2026-07-15 00:00:00", "2026-07-15 09:20:00"),
    ("who came the day before yesterday", "2026-07-13 00:00:00", "2026-07-13 23:59:59"),
    ("who came on Monday", "2026-07-13 00:00:00", "2026-07-13 23:59:59"),
    ("who came on Wednesday", "2026-07-08 00:00:00", "2026-07-08 23:59:59"),
    ("who came last Wednesday", "2026-07-08 00:00:00", "2026-07-08 23:59:59"),
    ("who came this Tuesday", "2026-07-14 00:00:00", "2026-07-14 23:59:59"),
    ("who came on Monday between 2 and 3 pm", "2026-07-13 14:00:00", "2026-07-13 15:01:00"),
    ("what happened this week", "2026-07-13 00:00:00", "2026-07-15 09:20:00"),
    ("what happened last week", "2026-07-06 00:00:00", "2026-07-12 23:59:59"),
    ("who came over the weekend", "2026-07-11 00:00:00", "2026-07-12 23:59:59"),
    ("who came last weekend", "2026-07-11 00:00:00", "2026-07-12 23:59:59"),
    ("what happened this month", "2026-07-01 00:00:00", "2026-07-15 09:20:00"),
    ("who came on July 4th", "2026-07-04 00:00:00", "2026-07-04 23:59:59"),
    ("who came on the 4th of July 2025 at 9 pm", "2025-07-04 21:00:00", "2025-07-04 21:00:59"),
    ("who came on December 24", "2025-12-24 00:00:00", "2025-12-24 23:59:59"),
    ("what happened 2026-07-14T14:00+02:00 to 2026-07-14T15:00+02:00", "2026-07-14 08:00:00", "2026-07-14 09:01:00"),
    ("at 2026-07-14T14:00-04:00 what was there", "2026-07-14 14:00:00", "2026-07-14 14:00:59"),
    ("who came on 2026-07-14 between 10 and 11", "2026-07-14 22:00:00", "2026-07-14 23:01:00"),
    ("who came from Friday 18:00 to Saturday 06:00", "2026-07-10 18:00:00", "2026-07-11 06:01:00"),
    ("who came three hours ago", "2026-07-15 05:35:00", "2026-07-15 07:05:00"),
    ("who came thirty seconds ago", "2026-07-15 09:19:22", "2026-07-15 09:19:37"),
]

# fmt: off
NO_TIMES = [
    "is the door open now?", "what colour was the car?", "was it at 7?", "", "how many cars are there",
    "the number 7 bus", "what digit is on the sign", "did 3 people come", "two dogs", "may I ask who came?",
    "what was the second car", "is it the sun", "did they march past the gate", "did 2 march past", "the 2 red cars",
    "which one am I", "were there five to seven cars", "did two to three dogs come",
    "were there between two and three dogs", "did it last two minutes", "did it last a minute",
    "how is the weather today", "what's the weather like today", "the clock shows 14:03", "does the sign show 12:30",
    "is it Monday?", "what did the man on the second floor do", "how many seconds are there in an hour",
    "what happened until now", "what was in the night sky", "is the light on at night", "did one walk past two cars",
    "who was first, or last", "is the score 3:2", "how many cars pass in an hour", "next door",
]
# fmt: on
# fmt: off
NO_ANCHORS = [
    "when did the red car appear?", "which came first, the car or the dog?", "when did you last see the van",
    "tell me when the van came", "do you know when the man left?", "when the van came?", "who stood before the door",
    "who looked after the dog", "who ran after the man", "have you seen it before?", "what came after that",
    "did it come before or after the van", "what was there after a while", "who came during the day",
    "who came before noon", "who came after the weekend", "what happened before the day before yesterday",
    "at the moment is the door open", "when was the red car first seen", "since when is it open",
    "at what time did the red car come", "who is the man after all",
]
# fmt: on


@pytest.mark.parametrize(("question", "since", "until"), IN_BERLIN)
def test_in_berlin_a_question_names_this_time(question: str, since: str | None, until: str | None) -> None:
    assert local(question, ON_A_MONDAY_IN_BERLIN, BERLIN) == (since, until)


@pytest.mark.parametrize(("question", "since", "until"), IN_NEW_YORK)
def test_in_new_york_a_question_names_this_time(question: str, since: str | None, until: str | None) -> None:
    assert local(question, ON_A_WEDNESDAY_IN_NEW_YORK, NEW_YORK) == (since, until)


@pytest.mark.parametrize(
    ("question", "now", "since", "until"),
    [
        ("who came tonight", "2026-03-02 22:00", "2026-03-02 17:00:00", "2026-03-02 22:00:00"),
        ("who came tonight", "2026-03-03 02:00", "2026-03-02 17:00:00", "2026-03-03 02:00:00"),
        ("who came this evening", "2026-03-02 19:00", "2026-03-02 17:00:00", "2026-03-02 19:00:00"),
        ("what happened between two and three", "2026-03-02 16:00", "2026-03-02 14:00:00", "2026-03-02 15:01:00"),
        ("who was there from 9 to 5", "2026-03-02 18:00", "2026-03-02 09:00:00", "2026-03-02 17:01:00"),
        ("was it open at 7 o'clock", "2026-03-02 20:00", "2026-03-02 19:00:00", "2026-03-02 19:00:59"),
        ("who came at the weekend", "2026-03-01 12:00", "2026-02-28 00:00:00", "2026-03-01 12:00:00"),
        ("who came last weekend", "2026-03-01 12:00", "2026-02-21 00:00:00", "2026-02-22 23:59:59"),
        ("who came between Friday and Monday", "2026-02-28 12:00", "2026-02-20 00:00:00", "2026-02-23 23:59:59"),
        ("from Friday 18:00 to Monday 06:00", "2026-02-28 12:00", "2026-02-20 18:00:00", "2026-02-23 06:01:00"),
        ("who came after 23:50 and before 00:10", "2026-03-02 00:05", "2026-02-28 23:50:00", "2026-03-01 00:10:00"),
    ],
)
def test_what_words_mean_depends_on_the_hour_at_which_they_are_said(
    question: str, now: str, since: str, until: str
) -> None:
    assert local(question, now, BERLIN) == (since, until)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        (BERLIN, "2026-03-29", 23),
        (BERLIN, "2026-10-25", 25),
        (BERLIN, "2026-03-30", 24),
        (NEW_YORK, "2026-03-08", 23),
        (NEW_YORK, "2026-11-01", 25),
        (ZoneInfo("Africa/Cairo"), "2026-04-24", 23),  # clocks jump over its midnight
    ],
)
def test_a_day_on_which_clocks_change_has_23_or_25_hours(zone: tzinfo, day: str, hours: int) -> None:
    found = span(f"what happened on {day}", "2026-12-24 12:00", zone)
    assert found is not None
    assert found.until_ns is not None
    assert found.since_ns is not None
    assert found.until_ns + SECOND_NS - found.since_ns == hours * HOUR_NS


def test_days_before_a_change_of_clocks_are_told_by_the_calendar_and_hours_by_what_has_passed() -> None:
    assert local("who came yesterday at 9:00", "2026-03-30 08:00", BERLIN)[0] == "2026-03-29 09:00:00"
    assert local("who came in the last two days", "2026-03-30 12:00", BERLIN)[0] == "2026-03-28 12:00:00"
    now_ns = at("2026-03-29 04:00", BERLIN)
    assert understand("who came in the last two hours", now_ns, BERLIN).span == Span(now_ns - 2 * HOUR_NS, now_ns)


@pytest.mark.parametrize(
    ("question", "now", "zone"),
    [
        ("was it open on 29 March at 02:30?", "2026-03-30 12:00", BERLIN),
        ("was it open at 02:30?", "2026-03-29 12:00", BERLIN),
        ("was it open yesterday at 2:15 am?", "2026-03-09 12:00", NEW_YORK),
        ("what was there at 2026-03-29 02:30:00", "2026-03-30 12:00", BERLIN),
    ],
)
def test_a_time_that_clocks_jumped_over_is_said_not_to_have_existed(question: str, now: str, zone: tzinfo) -> None:
    with pytest.raises(
        TimeSpanError, match=r"did not exist on 2026-03-[02][89] in \w+/\w+, where clocks were set forward"
    ):
        span(question, now, zone)


def test_a_span_that_begins_in_the_hour_that_clocks_jumped_over_begins_when_they_did() -> None:
    found = span("who came yesterday between 02:30 and 04:00", "2026-03-30 12:00", BERLIN)
    assert found == Span(at("2026-03-29T01:00", UTC), at("2026-03-29T02:01", UTC))
    assert span("who came since 02:30", "2026-03-29 12:00", BERLIN) == Span(at("2026-03-29T01:00", UTC), None)


def test_a_time_that_clocks_showed_twice_is_both() -> None:
    first, second = at("2026-10-25 02:30", BERLIN), at("2026-10-25 02:30", BERLIN, fold=1)
    assert second == first + HOUR_NS
    assert span("was it open at 02:30?", "2026-10-25 12:00", BERLIN) == Span(first, second + 59 * SECOND_NS)
    assert span("who came between 02:00 and 02:30", "2026-10-25 12:00", BERLIN) == Span(
        at("2026-10-25 02:00", BERLIN), second + 60 * SECOND_NS
    )
    between_them = at("2026-10-25 02:10", BERLIN, fold=1)
    assert understand("was it open at 02:30?", between_them, BERLIN).span == Span(first, first + 59 * SECOND_NS)


@pytest.mark.parametrize("question", ["was it open at 25:00?", "was it open at 14:61?", "at 14:03:75?", "at 13 pm"])
def test_a_time_that_no_clock_shows_is_said_to_be_none(question: str) -> None:
    with pytest.raises(TimeSpanError, match="is not a time of day; write 00:00:00 to 23:59:59"):
        span(question, ON_A_MONDAY_IN_BERLIN, BERLIN)


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("who came on 30 February", "30 February is not in the calendar; write a day as 2 March or 2026-03-02"),
        ("who came on 2026-02-30", "2026-02-30 is not in the calendar; write a day as 2 March or 2026-03-02"),
        ("who came on 32 March", "32 March is not in the calendar; write a day as 2 March or 2026-03-02"),
        ("who came on 02/03/2026", "02/03/2026 can mean two days; write it as 2026-03-02"),
        (
            "at 2026-03-02T14:61",
            "2026-03-02T14:61 is not a time; write 2026-03-02T14:00 or 2026-03-02T14:00+01:00",
        ),
        ("in the last 999999 years", "the last 999999 years is too long; ask about a time since 1970"),
        ("who comes tomorrow", "tomorrow is in the future; ask about a time up to now, 2026-03-02 14:30"),
        (
            "who will come in ten minutes",
            "in ten minutes is in the future; ask about a time up to now, 2026-03-02 14:30",
        ),
        ("what happens next week", "next week is in the future; ask about a time up to now, 2026-03-02 14:30"),
        ("who came tonight", "tonight is in the future; ask about a time up to now, 2026-03-02 14:30"),
        ("who came today at 23:00", "today at 23:00 is in the future; ask about a time up to now, 2026-03-02 14:30"),
        ("since 2027-01-01", "since 2027-01-01 is in the future; ask about a time up to now, 2026-03-02 14:30"),
        ("this morning at 15:00", "this morning at 15:00 contradicts itself; leave out one of the two times"),
        (
            "what was there yesterday from today",
            "the span 'yesterday from today' ends before it begins; name the earlier time first",
        ),
        (
            "who came from 2026-03-02 to 2026-03-01",
            "the span 'from 2026-03-02 to 2026-03-01' ends before it begins; name the earlier time first",
        ),
        (
            "between 2026-03-01 15:00 and 2026-03-01 14:00",
            "the span 'between 2026-03-01 15:00 and 2026-03-01 14:00' ends before it begins; "
            "name the earlier time first",
        ),
    ],
)
def test_an_impossible_time_is_told_in_a_sentence(question: str, sentence: str) -> None:
    with pytest.raises(TimeSpanError) as found:
        span(question, ON_A_MONDAY_IN_BERLIN, BERLIN)
    assert str(found.value) == sentence


@pytest.mark.parametrize(
    "question",
    NO_TIMES,
)
def test_what_is_no_time_is_not_read_as_one(question: str) -> None:
    reference = understand(question, at(ON_A_MONDAY_IN_BERLIN, BERLIN), BERLIN)
    assert (reference.span, reference.words) == (None, "")


def test_the_embedded_model_s_questions_name_what_their_plain_clock_times_say() -> None:
    """All phrasings, `{word}` filled with every word; "have you … this {week}" would rightly name a time."""
    rng, now_ns = random.Random(1), at("2026-03-02 14:30", UTC)
    words = f"{SEEN_WORDS} {HELD_OUT_WORDS}".split()
    times = {word for word in words if word.endswith("day") or word in ("week", "month", "year")}
    seconds = [word for word in words if word not in times]

    def clock() -> str:
        return f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}"

    templates = [(kind, text) for kind, phrases in PHRASES.items() for text in itertools.chain(*phrases)]
    for kind, template in templates:
        for word in words if "{word}" in template else words[:4]:
            fill = {"t": clock(), "since": clock(), "until": clock(), "word": word, "word2": rng.choice(seconds)}
            fill |= {"thing": "red car", "a_thing": "a red car", "name": "car", "colour": "red", "kinds": "cars"}
            fill |= {
                "one": "red car",
                "other": "dog",
                "end": "first",
                "verb": "left",
                "device": "gate",
                "state": "open",
            }
            question = f"{template.format(**fill)}?"
            reference = understand(question, now_ns)
            assert (reference.span, reference.anchor) == (plain_span(question, now_ns), None), question
            says_now = any(say in template for say in ("now", "currently", "at present", "at the moment"))
            assert reference.present == says_now, f"{kind}: {question}"


@pytest.mark.parametrize(
    ("question", "relation", "event"),
    [
        ("who was there before the van came?", "before", "the van came"),
        ("Before the van came, who was there?", "before", "the van came"),
        ("before the van came who was there", "before", "the van came"),
        ("what did the man do shortly after he left the bag", "after", "he left the bag"),
        ("what happened after the man left", "after", "the man left"),
        ("what came after the red car?", "after", "the red car"),
        ("who was there before the door opened", "before", "the door opened"),
        ("who was there until the van came", "before", "the van came"),
        ("what has happened since the man left?", "after", "the man left"),
        ("was the door open while the dog was there?", "during", "the dog was there"),
        ("was the door open when the dog was there?", "during", "the dog was there"),
        ("when the van came, was the door open?", "during", "the van came"),
        ("when the van came who was there", "during", "the van came"),
        ("what did you see when the van came", "during", "the van came"),
        ("at the time the van came was the door open", "during", "the van came"),
        ("what happened the moment the van came", "during", "the van came"),
        ("who was there during the delivery", "during", "the delivery"),
        ("what happened as soon as the man left", "after", "the man left"),
    ],
)
def test_another_event_that_tells_the_time_is_an_anchor(question: str, relation: str, event: str) -> None:
    reference = understand(question, at(ON_A_MONDAY_IN_BERLIN, BERLIN), BERLIN)
    assert reference.anchor == (relation, event)
    assert reference.span is None


@pytest.mark.parametrize(
    "question",
    NO_ANCHORS,
)
def test_a_question_for_a_time_or_an_order_has_no_anchor(question: str) -> None:
    assert understand(question, at(ON_A_MONDAY_IN_BERLIN, BERLIN), BERLIN).anchor is None


def test_an_anchor_may_stand_beside_a_day_and_one_with_a_clock_time_needs_no_second_look() -> None:
    now_ns = at(ON_A_MONDAY_IN_BERLIN, BERLIN)
    reference = understand("what happened after the van came yesterday?", now_ns, BERLIN)
    assert reference.anchor == ("after", "the van came")
    assert reference.words == "yesterday"
    assert local("what happened after the van came yesterday?", ON_A_MONDAY_IN_BERLIN, BERLIN) == (
        "2026-03-01 00:00:00",
        "2026-03-01 23:59:59",
    )
    reference = understand("what happened after the van came at 14:05?", now_ns, BERLIN)
    assert reference.anchor is None
    assert reference.span == Span(at("2026-03-02 14:05", BERLIN), None)


@pytest.mark.parametrize(
    ("question", "present"),
    [
        ("is the door open right now?", True),
        ("Now, is the door open?", True),
        ("what is there at the moment?", True),
        ("at the moment the door is open, isn't it", True),
        ("who is there at present", True),
        ("is the lamp currently on", True),
        ("is the door open?", False),
        ("what happened until now?", False),
        ("at the moment the van came who was there", False),
        ("was there a car just now", False),
        ("who knows", False),
    ],
)
def test_only_words_say_that_a_question_is_about_now(question: str, present: bool) -> None:
    assert understand(question, at(ON_A_MONDAY_IN_BERLIN, BERLIN), BERLIN).present == present


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("was it open at 14:03?", "at 14:03"),
        ("what did you see yesterday in the yard between two and three?", "yesterday … between two and three"),
        ("who came shortly after about 3 pm", "shortly after about 3 pm"),
        ("Who came Yesterday  Evening?", "Yesterday Evening"),
    ],
)
def test_the_words_that_were_read_are_told(question: str, words: str) -> None:
    assert understand(question, at(ON_A_MONDAY_IN_BERLIN, BERLIN), BERLIN).words == words


def test_words_that_are_to_be_a_time_are_read_whole_or_not_at_all() -> None:
    now_ns = at(ON_A_MONDAY_IN_BERLIN, BERLIN)
    yesterday = Span(at("2026-03-01 14:05", BERLIN), at("2026-03-01 14:05:59", BERLIN))
    assert read_span(" yesterday at  14:05", now_ns, BERLIN) == yesterday
    assert read_span("since noon until 1 pm", now_ns, BERLIN).since_ns == at("2026-03-02 12:00", BERLIN)
    for words in ("since lunch until noon", "the van", ""):
        with pytest.raises(TimeSpanError, match=r"cannot read .* as a time; try 14:05 or: yesterday at 14:05"):
            read_span(words, now_ns, BERLIN)


_PIECES = [
    "between",
    "from",
    "to",
    "and",
    "until",
    "since",
    "before",
    "after",
    "at",
    "on",
    "in",
    "the",
    "last",
    "this",
    "next",
    "two",
    "3",
    "7",
    "14:05",
    "14:03:20",
    "half",
    "past",
    "quarter",
    "pm",
    "am",
    "o'clock",
    "noon",
    "midnight",
    "yesterday",
    "today",
    "Monday",
    "march",
    "March",
    "2nd",
    "2026-03-02",
    "T14:00",
    "+01:00",
    "/",
    "-",
    ",",
    "?",
    "hours",
    "minutes",
    "ago",
    "morning",
    "night",
    "week",
    "weekend",
    "van",
    "dog",
    "when",
    "while",
    "came",
    "99",
    "999999",
    "years",
    "of",
    "a",
    "an",
]


@given(st.lists(st.sampled_from(_PIECES), max_size=12), st.sampled_from([UTC, BERLIN, NEW_YORK]))
def test_whatever_is_said_is_a_time_or_none_or_impossible(pieces: list[str], zone: tzinfo) -> None:
    now_ns = at("2026-03-29 03:30", zone)
    try:
        found = understand(" ".join(pieces), now_ns, zone).span
    except TimeSpanError:
        return
    if found is not None and found.since_ns is not None and found.until_ns is not None:
        assert found.since_ns <= found.until_ns


def refusal(question: str) -> str:
    """Why a question's time is refused; empty where it is not."""
    try:
        understand(question, at(ON_A_MONDAY_IN_BERLIN, BERLIN), BERLIN)
    except TimeSpanError as exc:
        return str(exc)
    return ""


@pytest.mark.parametrize(
    "unit",
    [
        *[
            "at 1 ",
            "1",
            "1 ",
            "1:1",
            "0",
            " ",
            "🚗",
            "monday ",
            "Monday ",
            "at 1 pm ",
            "between 1 and 2 ",
            "from 1 to 2, ",
        ],
        *[
            "half past two ",
            "five minutes ago ",
            "an hour and ",
            "1 hour 1 hour ",
            "a couple of ",
            "10:10:10 to ",
            "1-",
        ],
        *[
            "before the van came ",
            "when the ",
            "the moment the a ",
            "at the moment ",
            "now ",
            "and so ",
            "i see when a ",
        ],
        *[
            "in the last 5 ",
            "2nd of march ",
            "2026-03-02T14:00 ",
            "until ",
            "twenty five minutes past five to ",
            "how is ",
        ],
    ],
)
def test_a_long_question_of_nothing_but_times_is_read_or_refused_in_a_sentence(unit: str) -> None:
    """Four thousand characters that patterns could go back and forth in, alone and before a time."""
    for question in ((unit * 4000)[:4000], (unit * 4000)[:3970] + " what was there at 14:05?"):
        assert len(refusal(question)) < 300


def test_a_question_that_names_more_times_than_anyone_asks_about_is_refused() -> None:
    now_ns = at(ON_A_MONDAY_IN_BERLIN, BERLIN)
    assert understand("who came at 10:05? " * 16, now_ns, BERLIN).span is not None
    with pytest.raises(TimeSpanError, match="names 17 times; name 16 at most"):
        understand("who came at 10:05? " * 17, now_ns, BERLIN)


def test_a_block_is_touched_if_any_part_of_it_lies_in_the_span() -> None:
    ten_to_twenty = Span(10, 20)
    blocks = ((0, 9), (0, 10), (15, 15), (20, 90), (21, 22), (0, 99))
    assert [ten_to_twenty.touches(*block) for block in blocks] == [False, True, True, True, False, True]
