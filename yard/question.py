"""`Question`: something to ask about a scene, with the answer and the moments that prove it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .state import Thing

DONT_KNOW = "i don't know"


class Place(NamedTuple):
    """A cell of the picture (0–15) at a moment, given by its index."""

    moment: int
    cell: int


class Question(NamedTuple):
    """A question with its truth.

    Attributes:
        kind: one of `kinds.QUESTION_KINDS`.
        proof: indices of the moments that show the answer; empty where nothing shows it (an absence).
        shown: for each part of the answer ("a red car and a dog" has two) the places that show it.
        sought: for each thing that has to be found to answer it, the places to look at; empty where these are the
            places shown.
    """

    kind: str
    text: str
    answer: str
    proof: tuple[int, ...]
    shown: tuple[tuple[Place, ...], ...] = ()
    sought: tuple[tuple[Place, ...], ...] = ()

    @property
    def things(self) -> list[tuple[Place, ...]]:
        """The places of each thing that has to be found."""
        return [places for places in self.sought or self.shown if places]

    @property
    def unseen(self) -> list[int]:
        """The moments that prove the answer by what they do not show."""
        found = {place.moment for places in self.things for place in places}
        return [moment for moment in self.proof if moment not in found]


def name_all(things: Iterable[Thing]) -> str:
    """`a red car and an orange dog`, in the order given, or `nothing`."""
    return " and ".join(str(thing) for thing in things) or "nothing"
