"""`Asker`: what is known of some moments, and the random numbers by which questions about them are drawn.

The kinds of question (`kinds.py`) draw with it. They never ask for a random number in another way, so one seed gives
the same questions again. The order of the random numbers is part of that: it decides what the embedded model was
trained on and what the benchmarks ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np

from .moment import Moment, clock
from .phrases import HELD_OUT_WORDS, PHRASES, SEEN_WORDS
from .question import Place, Question
from .state import COLOURS, KINDS, SECOND_NS, Look, Thing

FORGOTTEN_MARK_SHARE = 0.15  # of the questions end without their mark, as people's do
_T = TypeVar("_T")


class Asker:
    """Some moments that questions are drawn about.

    Args:
        held_out: put the questions in words that the embedded model was never trained on.

    Attributes:
        whole: where each look is wholly seen, in time order.
        glimpsed: where each look is first seen at all.
    """

    def __init__(self, moments: Sequence[Moment], rng: np.random.Generator, *, held_out: bool = False) -> None:
        self.moments, self.rng, self._held_out = moments, rng, held_out
        self.whole: dict[Look, list[int]] = {}
        self.glimpsed: dict[Look, int] = {}
        for i, moment in enumerate(moments):
            for thing in moment.state.things:
                self.glimpsed.setdefault(thing.look, i)
                if not thing.half_seen and self.whole.get(thing.look, [-1])[-1] != i:
                    self.whole.setdefault(thing.look, []).append(i)

    @property
    def newest(self) -> int:
        """The index of the last moment."""
        return len(self.moments) - 1

    @property
    def missing_words(self) -> list[str]:
        """Words for what the yard does not have."""
        return (HELD_OUT_WORDS if self._held_out else SEEN_WORDS).split()

    def pick(self, options: Iterable[_T]) -> _T:
        """Any of the options alike."""
        options = list(options)
        return options[int(self.rng.integers(len(options)))]

    def pick_by(self, options: Sequence[_T], value: Callable[[_T], object]) -> _T:
        """An option, such that each value is as likely as any other."""
        values = [value(option) for option in options]
        wanted = self.pick(dict.fromkeys(values))
        return self.pick(option for option, found in zip(options, values, strict=True) if found == wanted)

    def pick_absent(self, kinds: Sequence[str] = KINDS) -> Look | None:
        """A look that was never there; it often shares its colour or its kind with one that was."""
        colours = list(COLOURS)
        if self.glimpsed and self.rng.random() < 0.6:
            colour, kind = self.pick(self.glimpsed)
            if self.rng.random() < 0.5:
                colours = [colour]
            elif kind in kinds:
                kinds = [kind]
        look = Look(self.pick(colours), self.pick(kinds))
        return None if look in self.glimpsed else look

    def pick_clock(self, i: int) -> str:
        """A clock in a moment's span, more often than not its beginning."""
        moment = self.moments[i]
        if self.rng.random() < 0.6:
            return clock(moment.time_ns)
        seconds = (moment.until_ns - moment.time_ns) // SECOND_NS
        return clock(moment.time_ns + int(self.rng.integers(seconds + 1)) * SECOND_NS)

    def phrase(
        self,
        kind: str,
        answer: str,
        shown: Iterable[Iterable[Place]],
        proof: Iterable[int] | None = None,
        /,
        **words: str,
    ) -> Question:
        """Puts a question of a kind in one of its phrasings.

        Args:
            shown: the places that show each part of the answer.
            proof: the moments that prove it, if not those of the places.
            words: what fills the phrasing's braces; those it does not have are left out.
        """
        phrases = PHRASES[kind].held_out if self._held_out else PHRASES[kind].seen
        mark = "" if self.rng.random() < FORGOTTEN_MARK_SHARE else "?"
        places = tuple(tuple(part) for part in shown)
        if proof is None:
            proof = dict.fromkeys(place.moment for part in places for place in part)
        return Question(kind, self.pick(phrases).format(**words) + mark, answer, tuple(proof), places)

    def sightings(self, look: Look, indices: Iterable[int] | None = None) -> list[tuple[int, Thing]]:
        """Each time that the look is wholly seen, at these moments or at any."""
        return [
            (i, thing)
            for i in (self.whole[look] if indices is None else indices)
            for thing in self.moments[i].state.things
            if thing.look == look and not thing.half_seen
        ]

    def places(self, look: Look, indices: Iterable[int] | None = None) -> list[Place]:
        """Where it is wholly seen."""
        return [Place(i, thing.cell) for i, thing in self.sightings(look, indices)]

    def came_twice(self, look: Look) -> bool:
        """Whether more than a minute without the look lies between two sightings."""
        seen = [self.moments[i] for i in self.whole[look]]
        return any(later.time_ns - earlier.until_ns > 60 * SECOND_NS for earlier, later in pairwise(seen))
