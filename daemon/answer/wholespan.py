"""Questions about all of a time ("what happened between two and three?"): its parts, and their answers as one.

If a time holds more blocks than one context, the question is asked of each part, and the answers are made one (map and
reduce: MR. Video, arXiv 2504.16082). The embedded model answers in lists, and its lists are joined. Any other model
reads the parts' answers as notes and answers from them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import tzinfo
from typing import NamedTuple

import numpy as np

from ...memory.block import BlockInfo
from .question_time import format_time

_ALL = re.compile(
    r"\b(how (many|often|much)|number of|count|list|everything|summar\w+|anything happen\w*"
    r"|what (all |has )?(happened|came(?! first| last)|was (there(?! with)|in)|did you see)"
    r"|which (things|\w+s came))\b",
    re.IGNORECASE,
)
_NOTHING = ("nothing", "none")


class Note(NamedTuple):
    """What was answered about one part of the time."""

    since_ns: int
    until_ns: int
    text: str


def asks_for_all(question: str) -> bool:
    """Whether a question is about all of a time, and not about one moment in it."""
    return _ALL.search(question) is not None


def split_span(infos: Sequence[BlockInfo], room: int, most: int) -> list[list[BlockInfo]]:
    """A time's blocks in parts of equal size, none larger than `room`.

    If they fill more than `most` parts, some of them are left out, evenly over the time.
    """
    if len(infos) > room * most:
        infos = [infos[i] for i in np.linspace(0, len(infos) - 1, room * most).round().astype(int)]
    count = -(-len(infos) // room)
    return [[infos[i] for i in part] for part in np.array_split(np.arange(len(infos)), count)] if count else []


def write_prompt(question: str, notes: Sequence[Note], zone: tzinfo) -> str:
    """The question again, after what was answered about each part."""
    lines = [
        f"{format_time(note.since_ns, zone)[11:]} to {format_time(note.until_ns, zone)[11:]}: {note.text}"
        for note in notes
    ]
    return "\n".join(["Notes, in order of time:", *lines, f"Using all of these notes, answer: {question}"])


def join_lists(answers: Sequence[str]) -> str:
    """Lists as one, each thing once and in order; "a red car and a dog: 2" counts again.

    An answer that is no list ("i don't know") is left out. If none is a list, the first answer stands.
    """
    things: dict[str, None] = {}
    lists = [answer for answer in answers if answer in _NOTHING or re.match(r"(an?|the) ", answer)]
    if not lists:
        return answers[0]
    for answer in lists:
        if answer not in _NOTHING:
            things.update(dict.fromkeys(re.sub(r": \d+$", "", answer).split(" and ")))
    counted = any(answer == "none" or re.search(r": \d+$", answer) for answer in lists)
    if not things:
        return "none" if counted else "nothing"
    return " and ".join(things) + (f": {len(things)}" if counted else "")
