"""`Visit`: one thing's stay in the yard, drawn from the numbers of its slot alone.

A lane's time is cut into slots of a minute. A slot may hold a visit, and five of them a story: somebody leaves
something behind, and somebody else takes it.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from .state import BELONGINGS, CELL_WIDTH, COLOURS, EXTRAS, VISITORS, WIDTH, Thing

LANE_SLOT_SECONDS = 60.0
STORY_SLOTS = 5  # that a belonging and the two persons who move it take
SPEED_PIXELS_PER_SECOND = 80.0
_OUTSIDE_PIXELS = 60.0


class Visit(NamedTuple):
    """One thing's stay in the yard, in seconds of the scene: centre in the picture from `enter` to `leave`."""

    kind: str
    colour: str
    extra: str
    lane: int
    target_x: float
    from_left: bool
    to_left: bool
    start: float
    arrive: float
    depart: float
    end: float
    left_by: str = ""  # who brought a belonging and who took it away, as "red person"
    taken_by: str = ""

    @property
    def name(self) -> str:
        """`red car`."""
        return f"{self.colour} {self.kind}"

    def find_x(self, t_seconds: float) -> float | None:
        """The centre's x at a second, or None before and after the stay."""
        if not self.start <= t_seconds <= self.end:
            return None
        if t_seconds < self.arrive:
            away, left = (self.arrive - t_seconds) * SPEED_PIXELS_PER_SECOND, self.from_left
        elif t_seconds > self.depart:
            away, left = (t_seconds - self.depart) * SPEED_PIXELS_PER_SECOND, self.to_left
        else:
            return self.target_x
        return self.target_x - away if left else self.target_x + away

    def seen_at(self, x: float) -> Thing:
        """The thing while it is in the yard."""
        return Thing(self.kind, self.colour, self.lane, x, self.extra, self.left_by, self.taken_by)


def find_slot(lane: int, t_seconds: float) -> int:
    """The slot of a lane that a second lies in."""
    return int((t_seconds - _phase(lane)) // LANE_SLOT_SECONDS)


def _pick(names: tuple[str, ...], rng: np.random.Generator) -> str:
    return names[int(rng.integers(len(names)))]


def _extra(kind: str, rng: np.random.Generator) -> str:
    return "" if kind != "person" or rng.random() < 0.4 else _pick(EXTRAS, rng)


@functools.lru_cache(maxsize=8192)
def _look(seed: int, lane: int, slot: int) -> tuple[str, str]:
    """Kind and colour of what would come in a slot if nothing were repeated."""
    rng = np.random.default_rng([seed, lane, slot + 2**31, 7])
    return _pick(VISITORS, rng), _pick(tuple(COLOURS), rng)


@functools.lru_cache(maxsize=8192)
def make_visit(seed: int, lane: int, slot: int, busy: float) -> Visit | None:
    """What comes into a lane in a slot, or None. `busy` is the probability that something does."""
    rng = np.random.default_rng([seed, lane, slot + 2**31])
    if rng.random() >= busy:
        return None
    kind, colour = _look(seed, lane, slot)
    if rng.random() < 0.3:  # like something that came to this lane before, in another colour or in the same
        kind, same = _look(seed, lane, slot - int(rng.integers(1, 30)))
        colour = same if rng.random() < 0.5 else colour
    target = CELL_WIDTH * (rng.integers(4) + 0.5) + rng.uniform(-14, 14)
    start = slot * LANE_SLOT_SECONDS + _phase(lane) + rng.uniform(1, 12)
    from_left, to_left = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    arrive = start + _way(target, from_left)
    depart = arrive + rng.uniform(6, 30)
    return _stay(kind, colour, _extra(kind, rng), lane, target, from_left, to_left, arrive, depart)


@functools.lru_cache(maxsize=1024)
def make_story(seed: int, lane: int, first: int) -> tuple[Visit, ...]:
    """A person who leaves something behind, the thing, and another who takes it minutes later."""
    rng = np.random.default_rng([seed, lane, first + 2**31, 8])
    colours = rng.permutation(list(COLOURS))
    kind, of_leaver, of_taker = _pick(BELONGINGS, rng), str(colours[0]), str(colours[1])
    of_thing = _pick(tuple(COLOURS), rng)
    target = CELL_WIDTH * (rng.integers(1, 3) + 0.5) + rng.uniform(-14, 14)
    begin = first * LANE_SLOT_SECONDS + _phase(lane)
    from_left, to_left = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    arrive = begin + 8 + rng.uniform(0, 10)
    taken = begin + rng.uniform(120, 290)  # all are gone by the end, at most six seconds later
    at_left, at_right = target - CELL_WIDTH, target + CELL_WIDTH
    leaver_x, taker_x = (at_left if from_left else at_right), (at_left if to_left else at_right)
    extras = _extra("person", rng), _extra("person", rng)
    leaver = _stay(
        "person", of_leaver, extras[0], lane, leaver_x, from_left, from_left, arrive, arrive + rng.uniform(5, 14)
    )
    taker = _stay("person", of_taker, extras[1], lane, taker_x, to_left, to_left, taken - rng.uniform(4, 10), taken)
    thing = _stay(kind, of_thing, "", lane, target, from_left, to_left, arrive, taken)
    return leaver, thing._replace(left_by=leaver.name, taken_by=taker.name), taker


def _way(target: float, left: bool) -> float:
    """Seconds from outside the picture to a place in it, or back."""
    return (target + _OUTSIDE_PIXELS if left else WIDTH + _OUTSIDE_PIXELS - target) / SPEED_PIXELS_PER_SECOND


def _stay(
    kind: str,
    colour: str,
    extra: str,
    lane: int,
    target: float,
    from_left: bool,
    to_left: bool,
    arrive: float,
    depart: float,
) -> Visit:
    start, end = arrive - _way(target, from_left), depart + _way(target, to_left)
    return Visit(kind, colour, extra, lane, target, from_left, to_left, start, arrive, depart, end)


def _phase(lane: int) -> float:
    """By how many seconds a lane's slots are shifted, so that not all lanes change at once."""
    return LANE_SLOT_SECONDS * lane / 3
