"""Questions about all of a time: which they are, the time's parts, and their answers as one."""

from __future__ import annotations

from datetime import UTC
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from longwatch.daemon.answer.wholespan import Note, asks_for_all, join_lists, split_span, write_prompt
from longwatch.memory.block import BlockInfo
from longwatch.yard.phrases import PHRASES

WORDS = {"kinds": "dogs", "since": "14:00:00", "until": "14:10:00", "state": "open", "t": "14:03:20"}
POINTED = ("appear", "colour", "kind", "side", "extra", "when", "last", "order", "left", "door then", "lamp then")


@pytest.mark.parametrize("kind", ["came", "happened"])
def test_every_way_to_ask_what_came_asks_for_all(kind: str) -> None:
    phrases = [phrase.format(**WORDS) for phrase in (*PHRASES[kind].seen, *PHRASES[kind].held_out)]
    assert [phrase for phrase in phrases if not asks_for_all(phrase)] == []


@pytest.mark.parametrize("kind", POINTED)
def test_a_question_with_one_best_moment_does_not(kind: str) -> None:
    words = {**WORDS, "a_thing": "a red car", "thing": "red car", "name": "car", "colour": "red", "verb": "left"}
    words |= {"one": "red car", "other": "dog", "end": "first"}
    phrases = [phrase.format(**words) for phrase in (*PHRASES[kind].seen, *PHRASES[kind].held_out)]
    assert [phrase for phrase in phrases if asks_for_all(phrase)] == []


@pytest.mark.parametrize(
    "question",
    [
        "How many vans today?",
        "summarise the morning",
        "list everything between two and three",
        "What happened at noon?",
    ],
)
def test_so_does_what_people_ask_of_a_day(question: str) -> None:
    assert asks_for_all(question)


def infos(count: int) -> list[BlockInfo]:
    return [BlockInfo(i + 1, i, i, 24) for i in range(count)]


@pytest.mark.parametrize("count", [1, 23, 24, 25, 100, 192])
def test_parts_hold_every_block_once_and_in_order_and_none_more_than_fits(count: int) -> None:
    made = split_span(infos(count), room=24, most=8)
    assert [info for part in made for info in part] == infos(count)
    assert len(made) == -(-count // 24)
    assert max(map(len, made)) <= 24
    assert max(map(len, made)) - min(map(len, made)) <= 1


def test_what_does_not_fit_the_most_passes_is_covered_evenly_from_first_to_last() -> None:
    made = split_span(infos(1000), room=24, most=8)
    ids = [info.block_id for part in made for info in part]
    assert len(made) == 8
    assert (ids[0], ids[-1], len(ids)) == (1, 1000, 192)
    assert max(b - a for a, b in pairwise(ids)) <= 6
    assert split_span([], room=24, most=8) == []


@pytest.mark.parametrize(
    ("answers", "one"),
    [
        (["a red car and a dog", "nothing", "a dog and an orange cat"], "a red car and a dog and an orange cat"),
        (["a red car: 1", "none", "a red car and a blue car: 2"], "a red car and a blue car: 2"),
        (["none", "none"], "none"),
        (["nothing"], "nothing"),
        (["i don't know", "a red car"], "a red car"),
        (["i don't know", "i don't know"], "i don't know"),
    ],
)
def test_lists_are_joined_with_each_thing_once(answers: list[str], one: str) -> None:
    assert join_lists(answers) == one


def test_a_model_that_reads_gets_the_notes_with_their_times_in_the_streams_zone() -> None:
    notes = [Note(1_772_460_000 * 10**9, 1_772_460_600 * 10**9, "a van"), Note(1_772_460_601 * 10**9, 0, "nothing")]
    prompt = write_prompt("how many vans?", notes, ZoneInfo("Europe/Berlin"))
    assert "15:00:00 to 15:10:00: a van" in prompt
    assert prompt.endswith("answer: how many vans?")
    assert "14:00:00 to 14:10:00: a van" in write_prompt("how many vans?", notes, UTC)
