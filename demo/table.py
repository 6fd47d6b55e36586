"""The demo's table for people: some of the questions, plain ones first."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Column, Table
from rich.text import Text

from .answers import JudgedAnswer

_PLAIN_FIRST = (
    "colour",
    "left",
    "when",
    "there then",
    "extra",
    "order",
    "side",
    "came",
    "last",
    "happened",
    "kind",
    "appear",
    "count now",
    "door then",
)


def choose(answers: Sequence[JudgedAnswer], most: int) -> list[JudgedAnswer]:
    """So many answers to show: those whose truth a picture can show before the others, plain questions first.

    Only the questions and their truth decide, never the answers: a wrong one is shown like a right one.
    """
    return sorted(answers, key=_rank)[:most]


def make_table(answers: Sequence[JudgedAnswer]) -> Table:
    """A row for each answer."""
    table = Table(*(Column(name, overflow="fold") for name in ("question", "answer", "truth", "", "asked about", "")))
    table.box, table.pad_edge = None, False
    for a in answers:
        mark = Text("right", "green") if a.correct else Text("wrong", "red")
        picture = {True: Text("right picture"), False: Text("wrong picture", "red"), None: Text("nothing to show")}
        table.add_row(a.question.text, a.end.text, a.question.answer, mark, say_age(a.age_seconds), picture[a.proven])
    return table


def say_age(seconds: float | None) -> str:
    """`28 min ago`; a dash where there is no moment to speak of."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return "now"
    return f"{seconds:.0f} s ago" if seconds < 60 else f"{seconds / 60:.0f} min ago"


def _rank(answer: JudgedAnswer) -> tuple[bool, bool, int]:
    question = answer.question
    place = _PLAIN_FIRST.index(question.kind) if question.kind in _PLAIN_FIRST else len(_PLAIN_FIRST)
    return not question.things, question.answer == "nothing", place
