"""`JudgedAnswer`: a question of the demo, the daemon's answer, and how that compares with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..clients import Client
from ..clients.pictures import save
from ..daemon.protocol import AnswerEnd
from ..yard.kinds import agrees
from ..yard.moment import Moment, clock
from ..yard.question import Question

_SLACK_NS = 2_000_000_000


class JudgedAnswer(NamedTuple):
    """An answer beside the truth.

    Attributes:
        asked_ns: the newest moment of the yard when it was asked.
        proven: whether the evidence covers a moment that shows the answer; None if nothing can show it.
        age_seconds: how long before the question the newest such moment was.
        pictures: the evidence's, one for each row of it; None where it has no picture.
    """

    question: Question
    end: AnswerEnd
    asked_ns: int
    correct: bool
    proven: bool | None
    age_seconds: float | None
    pictures: list[Path | None]


def ask(client: Client, question: Question, moments: Sequence[Moment], folder: Path) -> JudgedAnswer:
    """Asks a question, judges the answer, and saves its pictures."""
    end = client.ask(question.text)
    times = [moments[i].time_ns for i in question.proof]
    covered = [
        any(e.start_ns - _SLACK_NS <= time_ns <= e.end_ns + _SLACK_NS for time_ns in times) for e in end.evidence
    ]
    newest_ns = moments[-1].time_ns
    return JudgedAnswer(
        question,
        end,
        asked_ns=newest_ns,
        correct=agrees(question, end.text),
        proven=any(covered) if times else None,
        age_seconds=(newest_ns - max(times)) / 1e9 if times else None,
        pictures=save(end, folder),
    )


def as_json(answer: JudgedAnswer) -> dict[str, Any]:
    """One question's line for machines."""
    rows = zip(answer.end.evidence, answer.pictures, strict=True)
    return {
        "kind": answer.question.kind,
        "question": answer.question.text,
        "answer": answer.end.text,
        "truth": answer.question.answer,
        "correct": answer.correct,
        "evidence_correct": answer.proven,
        "age_seconds": answer.age_seconds,
        "evidence": [
            {
                "start": clock(e.start_ns),
                "end": clock(e.end_ns),
                "use": round(e.use, 4),
                "picture": str(picture) if picture else None,
            }
            for e, picture in rows
        ],
        "ttft_ms": round(answer.end.ttft_ms, 1),
    }


def sum_up(answers: Sequence[JudgedAnswer]) -> dict[str, int]:
    """The last line for machines; `provable` are the questions whose answer some moment shows."""
    return {
        "asked": len(answers),
        "correct": sum(a.correct for a in answers),
        "evidence_correct": sum(bool(a.proven) for a in answers),
        "provable": sum(a.proven is not None for a in answers),
    }
