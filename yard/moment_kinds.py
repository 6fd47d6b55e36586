"""Kinds of question about the yard at one moment: the newest ("now") or one that the question names ("then")."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .asker import Asker
from .kind import MOST_LISTED, Kind, yes_or_no
from .question import Place, Question, name_all
from .state import SIGN_CELL, State


@dataclass(frozen=True)
class MomentKind(Kind):
    """A kind that asks about the newest moment, or about any."""

    now: bool

    def pick_moment(self, asker: Asker, value: Callable[[State], object]) -> int:
        """The newest moment, or one such that each value is as likely as any other."""
        if self.now:
            return asker.newest
        return asker.pick_by(range(len(asker.moments)), lambda i: value(asker.moments[i].state))


@dataclass(frozen=True)
class DeviceState(MomentKind):
    """Whether the door is open, say.

    A third of the questions name the other state, so that "yes" does not mean "open".

    Attributes:
        cell: where the device is.
        words: for its two states, the one for `is_open` first.
    """

    cell: int
    is_open: Callable[[State], bool]
    words: tuple[str, str]

    def draw(self, asker: Asker) -> Question:
        """See `Kind.draw`."""
        i = self.pick_moment(asker, self.is_open)
        asked = asker.pick((True, True, False))
        answer = yes_or_no(self.is_open(asker.moments[i].state) == asked)
        word = self.words[0 if asked else 1]
        return asker.phrase(self.name, answer, [[Place(i, self.cell)]], state=word, t=asker.pick_clock(i))


@dataclass(frozen=True)
class SignDigit(MomentKind):
    """Which digit the sign shows."""

    def draw(self, asker: Asker) -> Question:
        """See `Kind.draw`."""
        i = self.pick_moment(asker, lambda state: state.digit)
        digit = str(asker.moments[i].state.digit)
        return asker.phrase(self.name, digit, [[Place(i, SIGN_CELL)]], t=asker.pick_clock(i))


@dataclass(frozen=True)
class ThingsThere(MomentKind):
    """What is in the yard."""

    def draw(self, asker: Asker) -> Question | None:
        """See `Kind.draw`."""
        first = asker.newest if self.now else 0
        states = ((i, moment.state) for i, moment in enumerate(asker.moments[first:], first))
        things = {i: state.things for i, state in states if state.fair and len(state.things) <= MOST_LISTED}
        if not things:
            return None
        i = asker.pick_by(list(things), lambda i: len(things[i]))
        shown = [
            [Place(i, thing.cell)] for thing in things[i]
        ]  # nothing, where the yard is empty: the moment proves it
        return asker.phrase(self.name, name_all(things[i]), shown, [i], t=asker.pick_clock(i))


@dataclass(frozen=True)
class ThingCount(Kind):
    """How many things are in the yard now."""

    def draw(self, asker: Asker) -> Question | None:
        """See `Kind.draw`."""
        i, state = asker.newest, asker.moments[-1].state
        if not state.fair:
            return None
        return asker.phrase(self.name, str(len(state.things)), [[Place(i, t.cell) for t in state.things]], [i])
