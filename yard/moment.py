"""`Moment`: a state of the yard and how long it held, as truth tells it or as a gate would keep it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from .scene import Scene
from .state import SECOND_NS, State


class Moment(NamedTuple):
    """A state of the yard, and how long it held (`until_ns` is the last time it was seen so)."""

    time_ns: int
    until_ns: int
    state: State


def clock(time_ns: int) -> str:
    """`14:03:20`, UTC."""
    return datetime.fromtimestamp(time_ns // SECOND_NS, UTC).strftime("%H:%M:%S")


def scene_moments(scene: Scene, seconds: int) -> list[Moment]:
    """The truth, second by second."""
    times = [scene.start_ns + t * SECOND_NS for t in range(seconds)]
    return [Moment(time_ns, time_ns, scene.state(t)) for t, time_ns in enumerate(times)]


def gated_moments(scene: Scene, seconds: int, keep_seconds: int = 300) -> list[Moment]:
    """The moments that a gate would keep of a scene watched at one frame a second.

    A yard that stays as it is extends the last moment, and is kept again after `keep_seconds`.
    """
    kept: list[Moment] = []
    for now in scene_moments(scene, seconds):
        still = kept and not _changed(now.state, kept[-1].state)
        if still and now.time_ns < kept[-1].time_ns + keep_seconds * SECOND_NS:
            kept[-1] = kept[-1]._replace(until_ns=now.time_ns)
        else:
            kept.append(now)
    return kept


def _changed(state: State, kept: State) -> bool:
    """Whether a gate would call the state new."""
    still = len(state.things) == len(kept.things) and all(
        a[:3] == b[:3] and abs(a.x - b.x) < 6 for a, b in zip(state.things, kept.things, strict=True)
    )
    return not still or state[1:5] != kept[1:5] or state.shake != kept.shake
