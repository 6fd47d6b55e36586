"""The rendered yard and the questions about it: the same again, true, and balanced."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from longwatch.yard import kinds as quiz
from longwatch.yard.clip import write_clip, write_truth
from longwatch.yard.errors import YardError
from longwatch.yard.kinds import DONT_KNOW, QUESTION_KINDS, Question, agrees
from longwatch.yard.moment import Moment, clock
from longwatch.yard.paint import paint
from longwatch.yard.phrases import HELD_OUT_WORDS, PHRASES, SEEN_WORDS
from longwatch.yard.scene import Scene
from longwatch.yard.state import COLOURS, KINDS, plural


def moments(scene: Scene, seconds: int) -> list[Moment]:
    return [Moment(t * 10**9, t * 10**9, scene.state(t)) for t in range(seconds)]


def test_any_second_is_the_same_whatever_was_rendered_before() -> None:
    late_first = Scene(seed=5).render(4000.5)
    scene = Scene(seed=5)
    for t in range(0, 100, 9):
        scene.render(t)
    assert np.array_equal(scene.render(4000.5), late_first)
    assert not np.array_equal(Scene(seed=6).render(4000.5), late_first)


def test_the_truth_log_tells_every_visit_and_change_in_order() -> None:
    scene = Scene(seed=9, start_ns=10**18, busy=0.5)
    log = scene.truth(0, 1800)
    times = [int(str(entry["time_ns"])) for entry in log]
    assert times == sorted(times)
    assert {entry["event"] for entry in log} == {"enter", "leave", "left", "taken", "door", "lamp", "gate", "sign"}
    for device in ("door", "gate"):
        changes = {(t - 10**18) / 1e9: e["what"] for t, e in zip(times, log, strict=True) if e["event"] == device}
        now = "?"
        for t in range(1800):
            now = str(changes.get(t, now))
            assert (now == "open") == getattr(scene.state(t), f"{device}_open")


def test_what_is_left_behind_stands_alone_until_another_takes_it() -> None:
    scene = Scene(seed=9, busy=0.5)
    log = scene.truth(0, 1800)
    for entry in log:
        if entry["event"] != "left":
            continue
        after = int(str(entry["time_ns"])) / 1e9 + 8
        taken = next(
            e for e in log if e["event"] == "taken" and e["what"] == entry["what"] and e["time_ns"] > entry["time_ns"]
        )
        assert entry["by"] != taken["by"]
        there = {f"{t.colour} {t.kind}": t for t in scene.state(after).things}
        assert there[str(entry["what"])].left_by == entry["by"]
        assert f"{there[str(entry['what'])].taken_by}" == taken["by"]


def test_a_day_is_reached_without_rendering_what_lies_before_and_has_empty_hours() -> None:
    scene = Scene(seed=4, busy=0.4)
    visits = [len(list(scene.visits(hour * 3600, hour * 3600 + 3599))) for hour in range(24)]
    assert min(visits) <= 2
    assert max(visits) > 40
    assert scene.render(23 * 3600 + 0.5).shape == (288, 384, 3)


def test_nights_are_dark_and_a_larger_picture_is_the_same_picture() -> None:
    noon, night = (Scene(seed=2, start_ns=hour * 3600 * 10**9) for hour in (13, 2))
    assert night.render(5).mean() < 0.65 * noon.render(5).mean()
    large = Scene.from_url("scene://?seed=2&size=768x576&start=1970-01-01T13:00:00").render(5)
    assert large.shape == (576, 768, 3)
    assert np.abs(large[::2, ::2].astype(int) - noon.render(5)).mean() < 8


def test_what_is_in_the_state_is_in_the_picture() -> None:
    """A yard with a thing differs from the same yard without it, where the thing stands."""
    scene = Scene(seed=3, busy=1.0)
    t = next(t for t in range(300) if any(not thing.half_seen for thing in scene.state(t).things))
    thing = next(thing for thing in scene.state(t).things if not thing.half_seen)
    state, rng = scene.state(t), np.random.default_rng
    without = paint(state._replace(things=()), 3, rng(1))
    difference = np.abs(paint(state, 3, rng(1)).astype(int) - without.astype(int)).max(2)
    top, left = thing.lane * 72, int(thing.x) - 20
    assert (difference[top : top + 72, left : left + 40] > 40).mean() > 0.15


@pytest.mark.parametrize(
    "url",
    [
        "scene://?sed=1",
        "scene://?seed=x",
        "scene://?busy=2",
        "scene://?minutes=-1",
        "scene://?size=9x9",
        "scene://?size=big",
    ],
)
def test_a_scene_that_cannot_be_is_one_sentence(url: str) -> None:
    with pytest.raises(YardError, match="scene://"):
        Scene.from_url(url)


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("kind", QUESTION_KINDS)
def test_every_kind_of_question_can_be_asked_and_its_answer_is_true(kind: str, held_out: bool) -> None:
    """Each answer is checked against the states by other means than those that made it."""
    rng, asked = np.random.default_rng(1), 0
    for seed in range(12):
        seen = moments(Scene(seed=seed, busy=0.2), 900)
        for _ in range(8):
            question = quiz.ask(kind, seen, rng, held_out=held_out)
            if question is not None:
                asked += 1
                check(question, seen)
                assert {place.moment for part in question.shown for place in part} <= set(question.proof)
    assert asked >= 10


def check(question: Question, seen: list[Moment]) -> None:
    names = [{f"{t.colour} {t.kind}" for t in m.state.things} for m in seen]
    proof = [seen[i].state for i in question.proof]
    text, answer = question.text.rstrip("?"), question.answer
    clocks = [int(h) * 3600 + int(m) * 60 + int(s) for h, m, s in re.findall(r"(\d\d):(\d\d):(\d\d)", text)]
    named = [f"{c} {k}" for c, k in re.findall(rf"\b({'|'.join(COLOURS)}) ({'|'.join(KINDS)})\b", text)]
    match question.kind.split():
        case [("door" | "gate" | "lamp") as device, when]:
            state = seen[clocks[0] if when == "then" else -1].state
            is_open = state.lamp_on if device == "lamp" else getattr(state, f"{device}_open")
            asked_open = re.search(r"\b(closed|off)\b", text) is None
            assert answer == ("yes" if is_open == asked_open else "no")
        case ["sign", when]:
            assert answer == str(seen[clocks[0] if when == "then" else -1].state.digit)
        case ["there", when]:
            things = seen[clocks[0] if when == "then" else -1].state.things
            assert answer == (" and ".join(str(t) for t in things) or "nothing")
        case ["count", "now"]:
            assert answer == str(len(seen[-1].state.things))
        case ["appear"]:
            assert answer == ("yes" if any(named[0] in there for there in names) else "no")
        case ["colour"]:
            kind = next(k for k in KINDS if re.search(rf"\b{k}\b", text))
            found = {n.split()[0] for there in names for n in there if n.split()[1] == kind}
            assert found == ({answer} if question.proof else set())
        case ["kind"]:
            colour = next(c for c in COLOURS if re.search(rf"\b{c}\b", text))
            found = {n.split()[1] for there in names for n in there if n.split()[0] == colour}
            assert found == ({answer.split()[1]} if question.proof else set())
        case ["side" | "extra" | "when" | "last" | "left"] if not question.proof:
            assert not any(named[0] in there for there in names)
            assert answer == f"i saw no {named[0]}"
        case ["side"]:
            things = [t for s in proof for t in s.things if f"{t.colour} {t.kind}" == named[0] and not t.half_seen]
            assert {"on the left" if t.x < 192 else "on the right" for t in things} == {answer}
        case ["extra"]:
            worn = {t.extra for s in proof for t in s.things if f"{t.colour} {t.kind}" == named[0] and not t.half_seen}
            assert worn == {{"nothing": "", "a hat": "hat", "an umbrella": "umbrella"}[answer]}
        case [("when" | "last") as end]:
            there = [i for i, found in enumerate(names) if named[0] in found]
            assert answer == f"at {clock(seen[question.proof[0]].time_ns)}"
            assert abs(question.proof[0] - there[0 if end == "when" else -1]) <= 1
        case ["order"]:
            first = [next(i for i, found in enumerate(names) if name in found) for name in named]
            wanted = (min if " first" in text else max)(zip(first, named, strict=True))[1]
            assert answer == f"the {wanted}"
        case ["left"]:
            verb = "taken_by" if "took" in text else "left_by"
            assert {f"{c} person" for c in COLOURS if c in answer} == {
                getattr(t, verb) for s in proof for t in s.things if f"{t.colour} {t.kind}" == named[0]
            }
        case ["came" | "happened"]:
            found = set().union(*names[clocks[0] : clocks[1] + 1])
            if question.kind == "came":
                kind = next(k for k in KINDS if re.search(rf"\b{plural(k)}\b", text))
                found = {name for name in found if name.split()[1] == kind}
                assert answer.endswith(f": {len(found)}") if found else answer == "none"
            else:
                assert answer == "nothing" or answer.count(" and ") == len(found) - 1
            assert all(name in answer for name in found)
        case _:
            assert answer == DONT_KNOW


def test_answers_are_balanced() -> None:
    rng = np.random.default_rng(2)
    counts: Counter[str] = Counter()
    for seed in range(60):
        seen = moments(Scene(seed=seed, busy=0.3), 400)
        for kind in ("door then", "lamp then", "gate now", "appear"):
            question = quiz.ask(kind, seen, rng)
            counts[f"{kind} {question.answer if question else 'none'}"] += 1
    for kind in ("door then", "lamp then", "gate now", "appear"):
        assert 0.3 < counts[f"{kind} yes"] / (counts[f"{kind} yes"] + counts[f"{kind} no"]) < 0.7


def test_held_out_phrasings_and_words_are_none_of_those_trained_on() -> None:
    for phrases in PHRASES.values():
        assert not set(phrases.seen) & set(phrases.held_out)
    assert not set(SEEN_WORDS.split()) & set(HELD_OUT_WORDS.split())


def test_a_clip_and_its_truth_log_are_what_the_scene_is(tmp_path: Path) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    scene, show = Scene(seed=5, busy=0.5, width=320, height=240), Console(quiet=True)
    assert write_clip(scene, 3, 5, tmp_path / "clip.mp4", show) == 15
    clip = cv2.VideoCapture(str(tmp_path / "clip.mp4"))
    assert clip.get(cv2.CAP_PROP_FPS) == 5
    frames = [image for ok, image in iter(clip.read, (False, None)) if ok]
    assert len(frames) == 15
    assert np.abs(frames[7].astype(int) - scene.render(7 / 5)).mean() < 6
    assert write_truth(scene, 60, tmp_path / "clip.jsonl") == len((tmp_path / "clip.jsonl").read_text().splitlines())


def test_a_clip_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    with pytest.raises(YardError, match="could not write it"):
        write_clip(Scene(seed=1), 1, 5, tmp_path / "no" / "clip.mp4", Console(quiet=True))
    with pytest.raises(YardError, match="cannot be written"):
        write_truth(Scene(seed=1), 1, tmp_path / "no" / "clip.jsonl")


def test_a_time_counts_within_its_tolerance_and_words_only_as_they_are() -> None:
    when = Question("when", "when did the red car appear?", "at 14:03:20", (1,))
    assert agrees(when, "at 14:03:24")
    assert not agrees(when, "at 14:03:26")
    assert not agrees(when, "yes")
    came = Question("came", "", "a red car and a blue car: 2", (1,))
    assert agrees(came, "a blue car and a red car: 2")
    assert not agrees(came, "a red car: 1")
    assert agrees(Question("colour", "", "red", (1,)), " Red.")
    assert not agrees(Question("appear", "", "yes", (1,)), "no")
