"""What the demo shows to people: which questions, in which order, and with which totals."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from longwatch.demo.answers import JudgedAnswer
from longwatch.demo.demo import IN_TABLE, MINUTES, ON_SHEET, URL, draw_questions, report
from longwatch.demo.sheet import draw_sheet
from longwatch.demo.table import choose, say_age
from longwatch.yard.kinds import QUESTION_KINDS
from longwatch.yard.moment import scene_moments
from longwatch.yard.question import Question
from longwatch.yard.scene import Scene

from .wire import answer_end


def questions(seed: int) -> list[Question]:
    return draw_questions(scene_moments(Scene.from_url(URL.format(seed=seed)), MINUTES * 60), seed)


def judged(question: Question, *, correct: bool = True) -> JudgedAnswer:
    text = question.answer if correct else "something else"
    end = msgspec.structs.replace(answer_end("q", text), evidence=[])
    age = 60.0 if question.proof else None
    return JudgedAnswer(question, end, 0, correct, correct if question.proof else None, age, [])


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_plain_questions_that_a_picture_can_answer_come_first(seed: int) -> None:
    drawn = questions(seed)
    assert [question.kind for question in drawn] == list(QUESTION_KINDS)
    shown = [answer.question for answer in choose([judged(question) for question in drawn], IN_TABLE)]
    assert len(shown) == IN_TABLE
    assert sum(bool(question.things) for question in shown) > IN_TABLE / 2
    assert not shown[0].kind.endswith("now")


def test_a_wrong_answer_is_shown_where_a_right_one_would_be() -> None:
    drawn = questions(7)
    right, wrong = ([judged(question, correct=correct) for question in drawn] for correct in (True, False))
    assert [a.question for a in choose(right, IN_TABLE)] == [a.question for a in choose(wrong, IN_TABLE)]


def test_the_totals_count_every_question_also_those_that_the_table_leaves_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    drawn = questions(7)
    wrong = judged(drawn[-1], correct=False)
    report([*map(judged, drawn[:-1]), wrong], Path("/somewhere"), "tcp://127.0.0.1:5555", 31.4)
    printed = capsys.readouterr().out
    assert wrong.question.text not in printed
    provable = sum(bool(question.proof) for question in drawn)
    assert f"{len(drawn) - 1} of {len(drawn)} answers are right" in printed
    assert f"{provable} of {provable} come with a picture of the right moment" in printed
    assert "It took 31 s" in printed
    commands = [line.split("longwatch ", 1)[1].split()[0] for line in printed.splitlines() if line.startswith("  ")]
    assert commands == ["serve", "chat", "validate"]


def test_an_age_is_said_in_the_unit_that_people_would_use() -> None:
    assert [say_age(seconds) for seconds in (None, 0.0, 11.0, 1680.0)] == ["-", "now", "11 s ago", "28 min ago"]


def test_the_sheet_has_rows_of_three_and_a_long_question_stays_on_its_tile() -> None:
    question = Question("came", f"how many {'very ' * 20}long questions fit?", "1", (1,))
    sheet = draw_sheet([judged(question)] * (ON_SHEET - 1))
    assert sheet.shape == (3 * 372, 3 * 392, 3)
    assert np.all(sheet[: 3 * 372, 390:394] == 255)
    assert np.all(sheet[2 * 372 :, 2 * 392 :] == 255)  # nobody's tile
