"""The rendered yard and the questions about it: the same again, true, and balanced."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from longwatch.daemon.capture import quiz
from longwatch.daemon.capture.quiz import QUESTION_KINDS, Moment, Question, agrees
from longwatch.daemon.capture.scene import Scene
from longwatch.daemon.errors import CaptureError


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
    log = scene.truth(0, 600)
    times = [int(str(entry["time_ns"])) for entry in log]
    assert times == sorted(times)
    assert {entry["event"] for entry in log} == {"enter", "leave", "door", "lamp", "sign"}
    door = "?"
    changes = {
        (t - 10**18) / 1e9: entry["what"] for t, entry in zip(times, log, strict=True) if entry["event"] == "door"
    }
    for t in range(600):
        door = str(changes.get(t, door))
        assert (door == "open") == scene.state(t).door_open


def test_what_is_in_the_state_is_in_the_picture() -> None:
    """A yard with a thing differs from the same yard without it, where the thing stands."""
    scene = Scene(seed=3, busy=1.0)
    t = next(t for t in range(300) if any(not thing.half_seen for thing in scene.state(t).things))
    thing = next(thing for thing in scene.state(t).things if not thing.half_seen)
    empty = Scene(seed=3, busy=0.0)
    difference = np.abs(scene.render(t).astype(int) - empty.render(t).astype(int)).max(2)
    top, left = thing.lane * 72, int(thing.x) - 20
    assert (difference[top : top + 72, left : left + 40] > 40).mean() > 0.15


@pytest.mark.parametrize("url", ["scene://?sed=1", "scene://?seed=x", "scene://?busy=2", "scene://?minutes=-1"])
def test_a_scene_that_cannot_be_is_one_sentence(url: str) -> None:
    with pytest.raises(CaptureError, match="scene://"):
        Scene.from_url(url)


@pytest.mark.parametrize("kind", QUESTION_KINDS)
def test_every_kind_of_question_can_be_asked_and_its_answer_is_true(kind: str) -> None:
    """Each answer is checked against the states by other means than those that made it."""
    rng, asked = np.random.default_rng(1), 0
    for seed in range(12):
        seen = moments(Scene(seed=seed, busy=0.2), 900)
        for _ in range(5):
            question = quiz.ask(kind, seen, rng)
            if question is not None:
                asked += 1
                check(question, seen)
    assert asked >= 12


def check(question: Question, seen: list[Moment]) -> None:
    names = [{f"{t.colour} {t.kind}" for t in m.state.things} for m in seen]
    proof = [seen[i] for i in question.proof]
    words = question.text.rstrip("?").split()
    match question.kind:
        case "door now" | "door then":
            assert question.answer == ("yes" if proof[0].state.door_open else "no")
        case "lamp now" | "lamp then":
            assert question.answer == ("yes" if proof[0].state.lamp_on else "no")
        case "sign then":
            assert question.answer == str(proof[0].state.digit)
        case "there now" | "there then":
            assert question.answer.count(" and ") == max(0, len(proof[0].state.things) - 1)
            assert all(t.colour in question.answer and t.kind in question.answer for t in proof[0].state.things)
        case "appear":
            thing = " ".join(words[-3:-1] if words[-1] == "appear" else words[-2:])
            assert question.answer == ("yes" if any(thing in there for there in names) else "no")
        case "colour":
            assert {n.split()[0] for there in names for n in there if n.split()[1] == words[-1]} == {question.answer}
        case "when":
            thing = " ".join(words[-3:-1])
            first = next(i for i, there in enumerate(names) if thing in there)
            assert question.answer.startswith("at ")
            assert 0 <= question.proof[0] - first <= 1


def test_answers_are_balanced() -> None:
    rng = np.random.default_rng(2)
    counts: Counter[str] = Counter()
    for seed in range(40):
        seen = moments(Scene(seed=seed, busy=0.3), 400)
        for kind in ("door then", "lamp then", "appear"):
            question = quiz.ask(kind, seen, rng)
            counts[f"{kind} {question.answer if question else 'none'}"] += 1
    for kind in ("door then", "lamp then", "appear"):
        assert 0.3 < counts[f"{kind} yes"] / (counts[f"{kind} yes"] + counts[f"{kind} no"]) < 0.7


def test_a_time_counts_within_its_tolerance_and_words_only_as_they_are() -> None:
    when = Question("when", "when did the red car appear?", "at 14:03:20", (1,))
    assert agrees(when, "at 14:03:24")
    assert not agrees(when, "at 14:03:26")
    assert not agrees(when, "yes")
    assert agrees(Question("colour", "", "red", (1,)), " Red.")
    assert not agrees(Question("appear", "", "yes", (1,)), "no")
