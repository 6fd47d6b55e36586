"""`Kind`: a kind of question. It draws questions of its kind, and judges the answers to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from .asker import Asker
from .question import Question

MOST_LISTED = 3  # things that an answer lists


@dataclass(frozen=True)
class Kind(ABC):
    """A kind of question, by the name under which its phrasings stand in `phrases.py`."""

    name: str

    @abstractmethod
    def draw(self, asker: Asker) -> Question | None:
        """Draws a random question, or None where the moments allow no fair one this time."""

    def agrees(self, truth: str, answer: str) -> bool:
        """Whether an answer is right: for most kinds, the same words."""
        return trim(answer) == truth


def trim(answer: str) -> str:
    """An answer without capitals and its full stop, as truths are written."""
    return answer.strip().lower().rstrip(".")


def yes_or_no(truth: bool) -> str:
    """The answer to a question about a fact."""
    return "yes" if truth else "no"
