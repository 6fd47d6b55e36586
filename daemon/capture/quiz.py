"""`Question`: something to ask about a scene, with the answer and the moments that prove it.

The same questions teach the embedded model, fill the demo and the benchmarks, so that none of them can pick its own.
Every kind is balanced: absent things are asked about as often as present ones, closed doors as often as open ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from .scene import COLOURS, KINDS, State, Thing


class Moment(NamedTuple):
    """A state of the yard, and how long it held (`until_ns` is the last time it was seen so)."""

    time_ns: int
    until_ns: int
    state: State


class Question(NamedTuple):
    """A question with its truth.

    Attributes:
        kind: one of `QUESTION_KINDS`.
        proof: indices of the moments that show the answer; empty where nothing shows it (an absence).
    """

    kind: str
    text: str
    answer: str
    proof: tuple[int, ...]


def clock(time_ns: int) -> str:
    """`14:03:20`, UTC."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%H:%M:%S")


def ask(kind: str, moments: Sequence[Moment], rng: np.random.Generator) -> Question | None:
    """A random question of a kind about these moments, or None where they allow no fair one."""
    return _MAKERS[kind](moments, rng)


def agrees(question: Question, answer: str, tolerance_seconds: float = 5.0) -> bool:
    """Whether an answer is right: the same words, or for "when" a clock within the tolerance."""
    said, true = answer.strip().lower().rstrip("."), question.answer
    if question.kind != "when":
        return said == true
    try:
        times = [datetime.strptime(text.removeprefix("at "), "%H:%M:%S") for text in (said, true)]
    except ValueError:
        return False
    return abs((times[0] - times[1]).total_seconds()) <= tolerance_seconds


def name_all(things: Sequence[Thing]) -> str:
    """`a red car and an orange dog`, far lane first, or `nothing`."""
    return " and ".join(str(thing) for thing in things) or "nothing"


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _when_asked(moment: Moment, rng: np.random.Generator) -> str:
    """A clock in the moment's span, more often than not its beginning."""
    if rng.random() < 0.6:
        return clock(moment.time_ns)
    seconds = (moment.until_ns - moment.time_ns) // 1_000_000_000
    return clock(moment.time_ns + int(rng.integers(seconds + 1)) * 1_000_000_000)


def _balanced(moments: Sequence[Moment], value: Callable[[State], object], rng: np.random.Generator) -> int:
    """An index such that each value of the state is as likely as any other."""
    values = [value(moment.state) for moment in moments]
    wanted = list(dict.fromkeys(values))[int(rng.integers(len(set(values))))]
    return int(rng.choice([i for i, v in enumerate(values) if v == wanted]))


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"


def _door_now(moments: Sequence[Moment], rng: np.random.Generator) -> Question:
    text = _pick(("is the door open?", "is the door open now?", "is the door open right now?"), rng)
    return Question("door now", text, _yes(moments[-1].state.door_open), (len(moments) - 1,))


def _lamp_now(moments: Sequence[Moment], rng: np.random.Generator) -> Question:
    text = _pick(("is the lamp on?", "is the lamp on now?", "is the lamp on right now?"), rng)
    return Question("lamp now", text, _yes(moments[-1].state.lamp_on), (len(moments) - 1,))


def _there_now(moments: Sequence[Moment], rng: np.random.Generator) -> Question | None:
    if not moments[-1].state.fair:
        return None
    text = _pick(("what is there now?", "what do you see now?", "what is in the yard right now?"), rng)
    return Question("there now", text, name_all(moments[-1].state.things), (len(moments) - 1,))


def _door_then(moments: Sequence[Moment], rng: np.random.Generator) -> Question:
    i = _balanced(moments, lambda state: state.door_open, rng)
    text = f"was the door open at {_when_asked(moments[i], rng)}?"
    return Question("door then", text, _yes(moments[i].state.door_open), (i,))


def _lamp_then(moments: Sequence[Moment], rng: np.random.Generator) -> Question:
    i = _balanced(moments, lambda state: state.lamp_on, rng)
    text = f"was the lamp on at {_when_asked(moments[i], rng)}?"
    return Question("lamp then", text, _yes(moments[i].state.lamp_on), (i,))


def _sign_then(moments: Sequence[Moment], rng: np.random.Generator) -> Question:
    i = _balanced(moments, lambda state: state.digit, rng)
    stem = _pick(("what digit was on the sign at", "what number did the sign show at"), rng)
    return Question("sign then", f"{stem} {_when_asked(moments[i], rng)}?", str(moments[i].state.digit), (i,))


def _there_then(moments: Sequence[Moment], rng: np.random.Generator) -> Question | None:
    fair = [i for i, moment in enumerate(moments) if moment.state.fair]
    if not fair:
        return None
    i = fair[_balanced([moments[i] for i in fair], lambda state: len(state.things), rng)]
    stem = _pick(("what was there at", "what was in the yard at", "what did you see at"), rng)
    text = f"{stem} {_when_asked(moments[i], rng)}?"
    return Question("there then", text, name_all(moments[i].state.things), (i,))


def _sightings(moments: Sequence[Moment]) -> tuple[dict[tuple[str, str], list[int]], set[tuple[str, str]]]:
    """Where each (colour, kind) is wholly seen, and all that are seen at all."""
    whole: dict[tuple[str, str], list[int]] = {}
    glimpsed = set()
    for i, moment in enumerate(moments):
        for thing in moment.state.things:
            glimpsed.add((thing.colour, thing.kind))
            if not thing.half_seen:
                whole.setdefault((thing.colour, thing.kind), []).append(i)
    return whole, glimpsed


def _appear(moments: Sequence[Moment], rng: np.random.Generator) -> Question | None:
    whole, glimpsed = _sightings(moments)
    if rng.random() < 0.5:
        if not whole:
            return None
        colour, kind = list(whole)[int(rng.integers(len(whole)))]
        answer, proof = "yes", tuple(whole[colour, kind])
    else:
        # Half of the absent things share their colour or their kind with something that was there.
        colours, kinds = list(COLOURS), list(KINDS)
        if glimpsed and rng.random() < 0.6:
            seen = sorted(glimpsed)[int(rng.integers(len(glimpsed)))]
            colours, kinds = ([seen[0]], kinds) if rng.random() < 0.5 else (colours, [seen[1]])
        colour, kind = _pick(colours, rng), _pick(kinds, rng)
        if (colour, kind) in glimpsed:
            return None
        answer, proof = "no", ()
    thing = str(Thing(kind, colour, 1, 0))
    text = _pick((f"did {thing} appear?", f"was there {thing}?", f"did you see {thing}?"), rng)
    return Question("appear", text, answer, proof)


def _colour(moments: Sequence[Moment], rng: np.random.Generator) -> Question | None:
    whole, glimpsed = _sightings(moments)
    fair = [pair for pair in whole if sum(kind == pair[1] for _, kind in glimpsed) == 1]
    if not fair:
        return None
    colour, kind = fair[int(rng.integers(len(fair)))]
    text = _pick((f"what colour was the {kind}?", f"what color was the {kind}?"), rng)
    return Question("colour", text, colour, tuple(whole[colour, kind]))


def _when(moments: Sequence[Moment], rng: np.random.Generator) -> Question | None:
    whole, _ = _sightings(moments)
    once = [pair for pair, seen in whole.items() if not _came_twice(moments, pair, seen)]
    if not once:
        return None
    colour, kind = once[int(rng.integers(len(once)))]
    first = whole[colour, kind][0]
    stem = _pick(("when did", "at what time did"), rng)
    text = f"{stem} the {colour} {kind} appear?"
    return Question("when", text, f"at {clock(moments[first].time_ns)}", (first,))


def _came_twice(moments: Sequence[Moment], pair: tuple[str, str], seen: Sequence[int]) -> bool:
    """Whether some minute without the thing lies between two sightings."""
    times = [moments[i].time_ns for i in seen]
    ends = [moments[i].until_ns for i in seen]
    return any(later - earlier > 60_000_000_000 for earlier, later in zip(ends, times[1:], strict=False))


_MAKERS: dict[str, Callable[[Sequence[Moment], np.random.Generator], Question | None]] = {
    "door now": _door_now,
    "lamp now": _lamp_now,
    "there now": _there_now,
    "door then": _door_then,
    "lamp then": _lamp_then,
    "sign then": _sign_then,
    "there then": _there_then,
    "appear": _appear,
    "colour": _colour,
    "when": _when,
}
QUESTION_KINDS = tuple(_MAKERS)
