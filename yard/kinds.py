"""`Question`: something to ask about a scene, with the answer and the moments that prove it.

The same questions teach the embedded model, fill the demo and the benchmarks, so that none of them can pick its own.
Every kind is balanced: absent things are asked about as often as present ones, closed doors as often as open ones, and
what has one answer out of a few has each alike. In kinds that take for granted that a thing was there ("what colour
was the van?") every fifth asks about one that was not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np

from .moment import Moment, clock
from .phrases import HELD_OUT_WORDS, PHRASES, SEEN_WORDS
from .state import (
    BELONGINGS,
    CELL_WIDTH,
    COLOURS,
    DOOR_CELL,
    GATE_CELL,
    KINDS,
    LAMP_CELL,
    SECOND_NS,
    SIGN_CELL,
    State,
    Thing,
    plural,
)

DONT_KNOW = "i don't know"
ABSENT_SHARE = 0.2
MOST_LISTED = 3
_T = TypeVar("_T")
_Pair = tuple[str, str]  # colour and kind: by these a thing is known again


class Place(NamedTuple):
    """A cell of the picture (0–15) at a moment, given by its index."""

    moment: int
    cell: int


class Question(NamedTuple):
    """A question with its truth.

    Attributes:
        kind: one of `QUESTION_KINDS`.
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


class Asker:
    """Draws questions about some moments.

    Args:
        held_out: put them in words that the embedded model was never trained on.
    """

    def __init__(self, moments: Sequence[Moment], rng: np.random.Generator, *, held_out: bool = False) -> None:
        self.moments, self.rng, self._held_out = moments, rng, held_out
        # Where each colour and kind is wholly seen, and all that are seen at all.
        self.whole: dict[_Pair, list[int]] = {}
        self.glimpsed: dict[_Pair, int] = {}
        for i, moment in enumerate(moments):
            for thing in moment.state.things:
                self.glimpsed.setdefault((thing.colour, thing.kind), i)
                if not thing.half_seen and self.whole.get((thing.colour, thing.kind), [-1])[-1] != i:
                    self.whole.setdefault((thing.colour, thing.kind), []).append(i)

    def ask(self, kind: str) -> Question | None:
        """A random question of a kind, or None where the moments allow no fair one this time."""
        return _MAKERS[kind](self, kind)

    def pick(self, options: Iterable[_T]) -> _T:
        """Any of the options alike."""
        options = list(options)
        return options[int(self.rng.integers(len(options)))]

    def pick_by(self, options: Sequence[_T], value: Callable[[_T], object]) -> _T:
        """An option, such that each value is as likely as any other."""
        values = [value(option) for option in options]
        wanted = self.pick(dict.fromkeys(values))
        return self.pick(option for option, found in zip(options, values, strict=True) if found == wanted)

    def question(
        self,
        kind: str,
        answer: str,
        shown: Iterable[Iterable[Place]],
        proof: Iterable[int] | None = None,
        /,
        **words: str,
    ) -> Question:
        """A question in some phrasing, proven by the moments of what is shown, or by those given.

        Like people, it forgets the question mark now and then.
        """
        phrases = PHRASES[kind].held_out if self._held_out else PHRASES[kind].seen
        mark = "" if self.rng.random() < 0.15 else "?"
        places = tuple(tuple(part) for part in shown)
        if proof is None:
            proof = dict.fromkeys(place.moment for part in places for place in part)
        return Question(kind, self.pick(phrases).format(**words) + mark, answer, tuple(proof), places)

    def sightings(self, pair: _Pair, indices: Iterable[int] | None = None) -> list[tuple[int, Thing]]:
        """The thing itself, wherever it is wholly seen, at these moments or at any."""
        return [
            (i, thing)
            for i in (self.whole[pair] if indices is None else indices)
            for thing in self.moments[i].state.things
            if (thing.colour, thing.kind) == pair and not thing.half_seen
        ]

    def places(self, pair: _Pair, indices: Iterable[int] | None = None) -> list[Place]:
        """Where it is wholly seen."""
        return [Place(i, thing.cell) for i, thing in self.sightings(pair, indices)]

    def words(self) -> list[str]:
        """Words for what the yard does not have."""
        return (HELD_OUT_WORDS if self._held_out else SEEN_WORDS).split()

    def clock_in(self, i: int) -> str:
        """A clock in a moment's span, more often than not its beginning."""
        moment = self.moments[i]
        if self.rng.random() < 0.6:
            return clock(moment.time_ns)
        seconds = (moment.until_ns - moment.time_ns) // SECOND_NS
        return clock(moment.time_ns + int(self.rng.integers(seconds + 1)) * SECOND_NS)

    def absent(self, kinds: Sequence[str] = KINDS) -> _Pair | None:
        """A thing that was never there; it often shares its colour or its kind with one that was."""
        colours = list(COLOURS)
        if self.glimpsed and self.rng.random() < 0.6:
            colour, kind = self.pick(self.glimpsed)
            if self.rng.random() < 0.5:
                colours = [colour]
            elif kind in kinds:
                kinds = [kind]
        pair = self.pick(colours), self.pick(kinds)
        return None if pair in self.glimpsed else pair

    def came_twice(self, pair: _Pair) -> bool:
        """Whether more than a minute without the thing lies between two sightings."""
        seen = [self.moments[i] for i in self.whole[pair]]
        return any(later.time_ns - earlier.until_ns > 60 * SECOND_NS for earlier, later in pairwise(seen))


def ask(kind: str, moments: Sequence[Moment], rng: np.random.Generator, *, held_out: bool = False) -> Question | None:
    """A random question of a kind about these moments, or None where they allow no fair one."""
    return Asker(moments, rng, held_out=held_out).ask(kind)


def draw(
    asker: Asker, kinds: Iterable[str], each: int, fair: Callable[[Question], bool], tries: int = 200
) -> list[Question]:
    """So many different questions of each kind, of those that are fair; fewer where so many tries find no more."""
    drawn: list[Question] = []
    for kind in kinds:
        found: dict[tuple[str, str], Question] = {}
        for _ in range(tries):
            question = asker.ask(kind)
            if question is not None and fair(question):
                found.setdefault((question.text.rstrip("?"), question.answer), question)
            if len(found) == each:
                break
        drawn += found.values()
    return drawn


def agrees(question: Question, answer: str, tolerance_seconds: float = 5.0) -> bool:
    """Whether an answer is right: the same words, for a time a clock within the tolerance, for a count the number."""
    said, true = answer.strip().lower().rstrip("."), question.answer
    if question.kind == "came":
        return re.sub(r".*: ", "", said) == re.sub(r".*: ", "", true)
    if not true.startswith("at "):
        return said == true
    try:
        times = [datetime.strptime(text.removeprefix("at "), "%H:%M:%S") for text in (said, true)]
    except ValueError:
        return False
    return abs((times[0] - times[1]).total_seconds()) <= tolerance_seconds


def name_all(things: Sequence[Thing]) -> str:
    """`a red car and an orange dog`, far lane first, or `nothing`."""
    return " and ".join(str(thing) for thing in things) or "nothing"


def _named(pair: _Pair) -> str:
    return str(Thing(pair[1], pair[0], 1, 0))


def _bare(pair: _Pair) -> str:
    return " ".join(pair)


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"


_DEVICES: dict[str, tuple[int, Callable[[State], bool], str, str]] = {  # its cell, its state, and the words
    "door": (DOOR_CELL, lambda state: state.door_open, "open", "closed"),
    "lamp": (LAMP_CELL, lambda state: state.lamp_on, "on", "off"),
    "gate": (GATE_CELL, lambda state: state.gate_open, "open", "closed"),
}


def _device(a: Asker, kind: str) -> Question:
    """A third of the questions name the other state, so that "yes" does not mean "open"."""
    name, when = kind.split()
    cell, is_open, *words = _DEVICES[name]
    indices = range(len(a.moments))
    i = len(a.moments) - 1 if when == "now" else a.pick_by(indices, lambda i: is_open(a.moments[i].state))
    asked = a.pick((True, True, False))
    answer = _yes(is_open(a.moments[i].state) == asked)
    return a.question(kind, answer, [[Place(i, cell)]], state=words[0 if asked else 1], t=a.clock_in(i))


def _sign(a: Asker, kind: str) -> Question:
    indices = range(len(a.moments))
    i = len(a.moments) - 1 if kind.endswith("now") else a.pick_by(indices, lambda i: a.moments[i].state.digit)
    return a.question(kind, str(a.moments[i].state.digit), [[Place(i, SIGN_CELL)]], t=a.clock_in(i))


def _there(a: Asker, kind: str) -> Question | None:
    newest = len(a.moments) - 1
    indices = [newest] if kind.endswith("now") else range(newest + 1)
    fair = [i for i in indices if a.moments[i].state.fair and len(a.moments[i].state.things) <= MOST_LISTED]
    if not fair:
        return None
    i = a.pick_by(fair, lambda i: len(a.moments[i].state.things))
    things = a.moments[i].state.things
    shown = [[Place(i, thing.cell)] for thing in things]  # nothing, where the yard is empty: the moment proves it
    return a.question(kind, name_all(things), shown, [i], t=a.clock_in(i))


def _count(a: Asker, kind: str) -> Question | None:
    newest, i = a.moments[-1].state, len(a.moments) - 1
    if not newest.fair:
        return None
    return a.question(kind, str(len(newest.things)), [[Place(i, thing.cell) for thing in newest.things]], [i])


def _appear(a: Asker, kind: str) -> Question | None:
    pair, there = (a.pick(a.whole), True) if a.whole and a.rng.random() < 0.5 else (a.absent(), False)
    if pair is None:
        return None
    return a.question(kind, _yes(there), [a.places(pair)] if there else [], a_thing=_named(pair))


def _about_absent(a: Asker, kind: str, kinds: Sequence[str] = KINDS, **words: str) -> Question | None:
    pair = a.absent(kinds)
    return None if pair is None else a.question(kind, f"i saw no {_bare(pair)}", [], thing=_bare(pair), **words)


def _colour(a: Asker, kind: str) -> Question | None:
    kinds = [pair[1] for pair in a.glimpsed]
    if a.rng.random() < ABSENT_SHARE:
        missing = [name for name in KINDS if name not in kinds]
        if not missing:
            return None
        name = a.pick(missing)
        return a.question(kind, f"i saw no {name}", [], name=name)
    fair = [pair for pair in a.whole if kinds.count(pair[1]) == 1]
    if not fair:
        return None
    pair = a.pick_by(fair, lambda pair: pair[0])
    return a.question(kind, pair[0], [a.places(pair)], name=pair[1])


def _kind(a: Asker, kind: str) -> Question | None:
    colours = [pair[0] for pair in a.glimpsed]
    if a.rng.random() < ABSENT_SHARE:
        missing = [name for name in COLOURS if name not in colours]
        return a.question(kind, "nothing", [], colour=a.pick(missing)) if missing else None
    fair = [pair for pair in a.whole if colours.count(pair[0]) == 1]
    if not fair:
        return None
    pair = a.pick_by(fair, lambda pair: pair[1])
    return a.question(kind, f"a {pair[1]}", [a.places(pair)], colour=pair[0])


def _of_a_thing(
    a: Asker, kind: str, fair: Sequence[_Pair], answer: Callable[[_Pair], str], kinds: Sequence[str] = KINDS
) -> Question | None:
    """A question about one thing by its name, balanced by the answer; now and then about one that was not there."""
    if a.rng.random() < ABSENT_SHARE:
        return _about_absent(a, kind, kinds)
    if not fair:
        return None
    pair = a.pick_by(fair, answer)
    return a.question(kind, answer(pair), [a.places(pair)], thing=_bare(pair))


def _side(a: Asker, kind: str) -> Question | None:
    sides = {pair: {thing.side for _, thing in a.sightings(pair)} for pair in a.whole}
    fair = [pair for pair, found in sides.items() if len(found) == 1]
    return _of_a_thing(a, kind, fair, lambda pair: f"on the {min(sides[pair])}")


def _extra(a: Asker, kind: str) -> Question | None:
    extras = {pair: {thing.extra for _, thing in a.sightings(pair)} for pair in a.whole if pair[1] == "person"}
    named = {"": "nothing", "hat": "a hat", "umbrella": "an umbrella"}
    fair = [pair for pair, found in extras.items() if len(found) == 1]
    return _of_a_thing(a, kind, fair, lambda pair: named[min(extras[pair])], ("person",))


def _when(a: Asker, kind: str) -> Question | None:
    if a.rng.random() < ABSENT_SHARE:
        return _about_absent(a, kind)
    once = [pair for pair in a.whole if not a.came_twice(pair)]
    if not once:
        return None
    pair = a.pick(once)
    i = a.whole[pair][0 if kind == "when" else -1]
    return a.question(kind, f"at {clock(a.moments[i].time_ns)}", [a.places(pair, [i])], thing=_bare(pair))


def _order(a: Asker, kind: str) -> Question | None:
    once = [pair for pair in a.whole if not a.came_twice(pair)]
    if len(once) < 2:
        return None
    one, other = a.pick(once), a.pick(once)
    first = [(a.glimpsed[pair], a.whole[pair][0]) for pair in (one, other)]
    if first[0][0] == first[1][0] or (first[0] < first[1]) != (first[0][1] < first[1][1]) or first[0][1] == first[1][1]:
        return None
    end = a.pick(("first", "last"))
    winner = one if (first[0] < first[1]) == (end == "first") else other
    shown = a.places(winner, a.whole[winner][:1])
    proof = sorted(seen for _, seen in first)
    question = a.question(kind, f"the {_bare(winner)}", [shown], proof, end=end, one=_bare(one), other=_bare(other))
    sought = tuple(tuple(a.places(pair, a.whole[pair][:1])) for pair in (one, other))
    return question._replace(sought=sought)


def _left(a: Asker, kind: str) -> Question | None:
    verb = a.pick(("left", "left", "took", "brought"))
    if a.rng.random() < ABSENT_SHARE:
        return _about_absent(a, kind, BELONGINGS, verb=verb)
    found: dict[_Pair, dict[str, list[Place]]] = {}
    for pair in a.whole:
        for _, thing in a.sightings(pair):
            person = thing.taken_by if verb == "took" else thing.left_by
            if person:
                found.setdefault(pair, {}).setdefault(person, [])
    for pair, persons in found.items():
        for person, places in persons.items():
            places += [place for i in a.whole[pair] for place in _beside(a.moments[i].state, i, pair, person)]
    fair = [pair for pair, persons in found.items() if len(persons) == 1 and min(persons.values())]
    if not fair:
        return None
    pair = a.pick(fair)
    person, places = next(iter(found[pair].items()))
    question = a.question(kind, _named((person.split()[0], "person")), [places], verb=verb, thing=_bare(pair))
    return question._replace(sought=((*places, *a.places(pair, question.proof)),))


def _beside(state: State, i: int, pair: _Pair, person: str) -> list[Place]:
    """Where the person is wholly seen right beside the thing."""
    things = [thing for thing in state.things if (thing.colour, thing.kind) == pair]
    return [
        Place(i, p.cell)
        for p in state.things
        if f"{p.colour} {p.kind}" == person
        and not p.half_seen
        and any(p.lane == thing.lane and abs(abs(p.x - thing.x) - CELL_WIDTH) < 2 for thing in things)
    ]


def _span(a: Asker) -> tuple[int, int]:
    """The first and last index of some span: of few moments any, of many seconds half a minute to two and a half."""
    count = len(a.moments)
    first = int(a.rng.integers(count))
    longest = count if count <= 64 else int(a.rng.integers(30, 150))
    return first, min(count, first + int(a.rng.integers(1, longest + 1))) - 1


def _seen_in(a: Asker, first: int, last: int) -> dict[_Pair, int] | None:
    """What is wholly seen between two indices and where first, or None where something is seen only in part."""
    seen: dict[_Pair, int] = {}
    for i in range(first, last + 1):
        for thing in a.moments[i].state.things:
            if not thing.half_seen:
                seen.setdefault((thing.colour, thing.kind), i)
    glimpsed = {(t.colour, t.kind) for i in range(first, last + 1) for t in a.moments[i].state.things}
    return seen if glimpsed <= set(seen) else None


def _clocks(a: Asker, first: int, last: int) -> dict[str, str]:
    return {"since": clock(a.moments[first].time_ns), "until": clock(a.moments[last].until_ns)}


def _came(a: Asker, kind: str) -> Question | None:
    wanted = int(a.rng.integers(0, MOST_LISTED + 1))
    for _ in range(6):
        first, last = _span(a)
        seen = _seen_in(a, first, last)
        if seen is None or any(a.came_twice(pair) for pair in seen):
            continue
        numbers = {name: [pair for pair in seen if pair[1] == name] for name in KINDS}
        fair = [name for name in KINDS if len(numbers[name]) == wanted]
        if fair:
            name = a.pick(fair)
            listed = " and ".join(_named(pair) for pair in numbers[name])
            answer = f"{listed}: {wanted}" if wanted else "none"
            shown = [a.places(pair, [seen[pair]]) for pair in numbers[name]]
            return a.question(kind, answer, shown, kinds=plural(name), **_clocks(a, first, last))
    return None


def _happened(a: Asker, kind: str) -> Question | None:
    wanted = int(a.rng.integers(0, MOST_LISTED + 1))
    for _ in range(6):
        first, last = _span(a)
        seen = _seen_in(a, first, last)
        if seen is not None and len(seen) == wanted:
            answer = " and ".join(_named(pair) for pair in seen) or "nothing"
            shown = [a.places(pair, [i]) for pair, i in seen.items()]
            return a.question(kind, answer, shown, **_clocks(a, first, last))
    return None


def _unknown(a: Asker, kind: str) -> Question:
    words = a.words()
    return a.question(
        kind,
        DONT_KNOW,
        [],
        word=a.pick(words),
        word2=a.pick(words),
        name=a.pick(KINDS),
        colour=a.pick(COLOURS),
        thing=f"{a.pick(COLOURS)} {a.pick(KINDS)}",
        device=a.pick(("door", "lamp", "gate", "sign", "camera", "yard")),
        t=a.clock_in(int(a.rng.integers(len(a.moments)))),
    )


_MAKERS: dict[str, Callable[[Asker, str], Question | None]] = {
    **dict.fromkeys(("door now", "lamp now", "gate now"), _device),
    "sign now": _sign,
    "there now": _there,
    "count now": _count,
    **dict.fromkeys(("door then", "lamp then", "gate then"), _device),
    "sign then": _sign,
    "there then": _there,
    "appear": _appear,
    "colour": _colour,
    "kind": _kind,
    "side": _side,
    "extra": _extra,
    "when": _when,
    "last": _when,
    "order": _order,
    "left": _left,
    "came": _came,
    "happened": _happened,
    "unknown": _unknown,
}
QUESTION_KINDS = tuple(_MAKERS)
NOW_KINDS = tuple(kind for kind in QUESTION_KINDS if kind.endswith(" now"))
