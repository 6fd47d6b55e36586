"""`Scene`: a rendered yard before a fixed camera, and the truth about it at every second.

Deterministic by seed and seekable: what stands in the yard at a second is drawn from numbers that belong to that
second's slots alone, so no second depends on one rendered before it. Knows nothing about models or memory.

The picture is a 4 × 4 grid of cells. The top row is the house: a door (cell 0), a lamp (cell 1) and a sign with a
digit (cell 3). The three rows below are lanes; in each, one thing at a time comes in from a side, stands in a column
for some seconds, and leaves.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import CaptureError

WIDTH, HEIGHT = 384, 288
CELL_WIDTH, CELL_HEIGHT = 96, 72
KINDS = ("person", "car", "van", "bicycle", "dog", "bag", "box")
COLOURS = {  # name: BGR
    "red": (40, 40, 215),
    "blue": (215, 90, 30),
    "green": (60, 165, 50),
    "yellow": (40, 220, 235),
    "white": (245, 245, 245),
    "black": (30, 28, 28),
    "orange": (20, 130, 250),
    "purple": (165, 45, 130),
}
LANE_SLOT_SECONDS = 60.0
DOOR_SLOT_SECONDS, LAMP_SLOT_SECONDS, SIGN_SLOT_SECONDS = 75.0, 110.0, 140.0
SPEED_PIXELS_PER_SECOND = 80.0
NOISE_SIGMA = 4.0
_OUTSIDE_PIXELS = 60.0
_DARK = (45, 42, 40)


class Thing(NamedTuple):
    """Something that stands in the yard; `x` is its centre in pixels, `lane` 1 (far) to 3 (near)."""

    kind: str
    colour: str
    lane: int
    x: float

    @property
    def cell(self) -> int:
        """The grid cell (0–15, row by row) that holds the centre."""
        return self.lane * 4 + min(3, max(0, int(self.x // CELL_WIDTH)))

    @property
    def half_seen(self) -> bool:
        """Whether the thing is cut by the picture's edge, so that nobody could name it fairly."""
        return not 30 <= self.x <= WIDTH - 30

    def __str__(self) -> str:
        return f"{'an' if self.colour == 'orange' else 'a'} {self.colour} {self.kind}"


class State(NamedTuple):
    """All that is true of the yard at one moment."""

    things: tuple[Thing, ...]
    door_open: bool
    lamp_on: bool
    digit: int
    light: float

    @property
    def fair(self) -> bool:
        """Whether every thing is wholly in the picture."""
        return not any(thing.half_seen for thing in self.things)


class Visit(NamedTuple):
    """One thing's stay in the yard, in seconds of the scene: centre in the picture from `enter` to `leave`."""

    kind: str
    colour: str
    lane: int
    target_x: float
    from_left: bool
    to_left: bool
    start: float
    arrive: float
    depart: float
    end: float


@dataclass(frozen=True)
class Scene:
    """A yard with its own history.

    Args:
        seed: which yard; another seed is another history.
        start_ns: UTC time of second 0.
        duration_seconds: where the stream ends, or None for never.
        busy: probability that a lane has a visit in a minute.
    """

    seed: int = 0
    start_ns: int = 0
    duration_seconds: float | None = None
    busy: float = 0.3

    @classmethod
    def from_url(cls, url: str) -> Scene:
        """Reads `scene://?seed=7&start=2026-03-02T14:00:00&minutes=30&busy=0.3`.

        Raises:
            CaptureError: a key is unknown or a value is out of range.
        """
        options = dict(parse_qsl(urlsplit(url).query))
        unknown = set(options) - {"seed", "start", "minutes", "busy"}
        if unknown:
            raise CaptureError(f"{url}: unknown {sorted(unknown)[0]!r}; a scene takes seed, start, minutes, busy")
        try:
            start = datetime.fromisoformat(options["start"]) if "start" in options else datetime.now(UTC)
            minutes = float(options["minutes"]) if "minutes" in options else None
            seed, busy = int(options.get("seed", 0)), float(options.get("busy", 0.3))
        except ValueError as exc:
            raise CaptureError(f"{url}: {exc}") from exc
        if seed < 0 or not 0 <= busy <= 1 or (minutes is not None and minutes <= 0):
            raise CaptureError(f"{url}: seed must be ≥ 0, busy between 0 and 1, minutes above 0")
        start = start.replace(tzinfo=start.tzinfo or UTC)
        return cls(
            seed=seed,
            start_ns=int(start.timestamp()) * 1_000_000_000,
            duration_seconds=None if minutes is None else minutes * 60,
            busy=busy,
        )

    def state(self, t_seconds: float) -> State:
        """What is true at a second."""
        things = []
        for lane in (1, 2, 3):
            visit = self._visit(lane, int((t_seconds - _lane_phase(lane)) // LANE_SLOT_SECONDS))
            x = None if visit is None else _place(visit, t_seconds)
            if visit is not None and x is not None and 0 <= x < WIDTH:
                things.append(Thing(visit.kind, visit.colour, lane, x))
        return State(
            things=tuple(things),
            door_open=self._draw(10, t_seconds // DOOR_SLOT_SECONDS) < 0.5,
            lamp_on=self._draw(11, t_seconds // LAMP_SLOT_SECONDS) < 0.5,
            digit=int(self._draw(12, t_seconds // SIGN_SLOT_SECONDS) * 10),
            light=1.0 + 0.12 * float(np.sin(t_seconds / 97.0 + self.seed)),
        )

    def visits(self, since: float, until: float) -> Iterator[Visit]:
        """Every visit whose stay touches `[since, until]` (seconds), lane by lane."""
        for lane in (1, 2, 3):
            first = int((since - _lane_phase(lane)) // LANE_SLOT_SECONDS)
            last = int((until - _lane_phase(lane)) // LANE_SLOT_SECONDS)
            for slot in range(first, last + 1):
                visit = self._visit(lane, slot)
                if visit is not None and visit.start <= until and visit.end >= since:
                    yield visit

    def truth(self, since: float, until: float) -> list[dict[str, object]]:
        """The truth log: one entry per change, in time order.

        Keys: `time_ns`, `event` (`enter`, `leave`, `door`, `lamp`, `sign`) and `what`.
        """
        changes: list[tuple[float, str, object]] = []
        for visit in self.visits(since, until):
            name = f"{visit.colour} {visit.kind}"
            changes += [(visit.start, "enter", name), (visit.end, "leave", name)]
        for event, seconds, what in (
            ("door", DOOR_SLOT_SECONDS, _door),
            ("lamp", LAMP_SLOT_SECONDS, _lamp),
            ("sign", SIGN_SLOT_SECONDS, _sign),
        ):
            before = None
            for slot in range(int(since // seconds), int(until // seconds) + 1):
                now = what(self.state(slot * seconds + 0.5))
                if now != before:
                    changes.append((slot * seconds, event, now))
                before = now
        return [
            {"time_ns": self.start_ns + int(t * 1e9), "event": event, "what": what}
            for t, event, what in sorted(changes, key=lambda change: change[0])
            if since <= t <= until
        ]

    def render(self, t_seconds: float) -> NDArray[np.uint8]:
        """The picture at a second: BGR, `[288, 384, 3]`, with sensor noise."""
        rng = np.random.default_rng([self.seed, int(t_seconds * 1000)])
        return paint(self.state(t_seconds), self.seed, rng)

    def _draw(self, purpose: int, slot: float) -> float:
        return _uniform(self.seed, purpose, int(slot))

    def _visit(self, lane: int, slot: int) -> Visit | None:
        return _make_visit(self.seed, lane, slot, self.busy)


def _door(state: State) -> str:
    return "open" if state.door_open else "closed"


def _lamp(state: State) -> str:
    return "on" if state.lamp_on else "off"


def _sign(state: State) -> str:
    return str(state.digit)


def paint(state: State, variant: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A picture of any state, in the paint of house `variant`: BGR, `[288, 384, 3]`, the noise drawn from `rng`."""
    image = _house(variant % 16, state.door_open, state.lamp_on, state.digit).copy()
    for thing in state.things:
        _draw_thing(image, thing)
    pool = _noise_pool()
    row, column = rng.integers(0, pool.shape[0] - HEIGHT), rng.integers(0, pool.shape[1] - WIDTH)
    noise = pool[row : row + HEIGHT, column : column + WIDTH]
    lit: NDArray[np.int16] = cv2.addWeighted(image, state.light, noise, 1.0, 0.0, dtype=cv2.CV_16S)
    return np.clip(lit, 0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=4096)
def _uniform(seed: int, purpose: int, slot: int) -> float:
    return float(np.random.default_rng([seed, purpose, slot + 2**31]).random())


def _lane_phase(lane: int) -> float:
    return LANE_SLOT_SECONDS * lane / 3


@functools.lru_cache(maxsize=4096)
def _make_visit(seed: int, lane: int, slot: int, busy: float) -> Visit | None:
    rng = np.random.default_rng([seed, lane, slot + 2**31])
    if rng.random() >= busy:
        return None
    kind, colour = KINDS[rng.integers(len(KINDS))], list(COLOURS)[rng.integers(len(COLOURS))]
    target = CELL_WIDTH * (rng.integers(4) + 0.5) + rng.uniform(-14, 14)
    from_left, to_left = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    way_in = target + _OUTSIDE_PIXELS if from_left else WIDTH + _OUTSIDE_PIXELS - target
    way_out = target + _OUTSIDE_PIXELS if to_left else WIDTH + _OUTSIDE_PIXELS - target
    start = slot * LANE_SLOT_SECONDS + _lane_phase(lane) + rng.uniform(1, 12)
    arrive = start + way_in / SPEED_PIXELS_PER_SECOND
    depart = arrive + rng.uniform(6, 30)
    end = depart + way_out / SPEED_PIXELS_PER_SECOND
    return Visit(kind, colour, lane, target, from_left, to_left, start, arrive, depart, end)


def _place(visit: Visit, t: float) -> float | None:
    """The centre's x at a second, or None before and after the stay."""
    if not visit.start <= t <= visit.end:
        return None
    if t < visit.arrive:
        away, left = (visit.arrive - t) * SPEED_PIXELS_PER_SECOND, visit.from_left
    elif t > visit.depart:
        away, left = (t - visit.depart) * SPEED_PIXELS_PER_SECOND, visit.to_left
    else:
        return visit.target_x
    return visit.target_x - away if left else visit.target_x + away


@functools.lru_cache(maxsize=1)
def _noise_pool() -> NDArray[np.int16]:
    rng = np.random.default_rng(0)
    return rng.normal(0, NOISE_SIGMA, (HEIGHT + 64, WIDTH + 64, 3)).round().astype(np.int16)


@functools.lru_cache(maxsize=256)
def _house(variant: int, door_open: bool, lamp_on: bool, digit: int) -> NDArray[np.int16]:
    rng = np.random.default_rng([variant, 99])
    wall = tuple(int(v) for v in np.array((125, 140, 150)) + rng.integers(-14, 15, 3))
    ground = tuple(int(v) for v in np.array((118, 124, 122)) + rng.integers(-12, 13, 3))
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    image[:CELL_HEIGHT] = wall
    image[CELL_HEIGHT:] = ground
    for lane in (2, 3):
        cv2.line(image, (0, lane * CELL_HEIGHT), (WIDTH, lane * CELL_HEIGHT), tuple(v - 10 for v in ground), 2)
    cv2.rectangle(image, (22, 6), (74, 71), (60, 80, 105), -1)
    if door_open:
        cv2.rectangle(image, (27, 11), (69, 71), (15, 15, 18), -1)
        cv2.fillPoly(image, [np.array([(27, 11), (40, 17), (40, 71), (27, 71)])], (70, 105, 150))
    else:
        cv2.rectangle(image, (27, 11), (69, 71), (70, 105, 150), -1)
        cv2.circle(image, (62, 42), 4, (40, 215, 235), -1, cv2.LINE_AA)
    glow = (140, 250, 255) if lamp_on else (72, 70, 68)
    cv2.line(image, (144, 0), (144, 20), _DARK, 5)
    cv2.circle(image, (144, 38), 22, glow, -1, cv2.LINE_AA)
    cv2.circle(image, (144, 38), 22, _DARK, 2, cv2.LINE_AA)
    cv2.rectangle(image, (304, 4), (368, 68), (235, 238, 238), -1)
    cv2.rectangle(image, (304, 4), (368, 68), _DARK, 3)
    cv2.putText(image, str(digit), (315, 60), cv2.FONT_HERSHEY_SIMPLEX, 2.1, (20, 20, 20), 7, cv2.LINE_AA)
    return image.astype(np.int16)


def _draw_thing(image: NDArray[np.int16], thing: Thing) -> None:
    """Draws into a patch of its own, so that a thing half outside the picture costs nothing special."""
    patch = np.zeros((CELL_HEIGHT, 100, 4), np.uint8)
    _PAINTERS[thing.kind](patch, (*COLOURS[thing.colour], 255))
    left, top = round(thing.x) - 50, thing.lane * CELL_HEIGHT
    begin, end = max(0, left), min(WIDTH, left + 100)
    if begin >= end:
        return
    seen = patch[:, begin - left : end - left]
    target = image[top : top + CELL_HEIGHT, begin:end]
    painted = seen[..., 3:] > 127
    np.copyto(target, seen[..., :3].astype(np.int16), where=painted)


_Paint = tuple[int, int, int, int]
_BLACK: _Paint = (25, 25, 25, 255)
_GLASS: _Paint = (205, 190, 165, 255)


def _wheels(patch: NDArray[np.uint8], *centres: int) -> None:
    for x in centres:
        cv2.circle(patch, (x, 60), 10, _BLACK, -1)
        cv2.circle(patch, (x, 60), 4, (150, 150, 150, 255), -1)


def _person(patch: NDArray[np.uint8], paint: _Paint) -> None:
    cv2.rectangle(patch, (40, 46), (48, 70), _BLACK, -1)
    cv2.rectangle(patch, (53, 46), (61, 70), _BLACK, -1)
    cv2.fillPoly(patch, [np.array([(38, 20), (63, 20), (70, 52), (31, 52)])], paint)
    cv2.circle(patch, (50, 11), 9, (150, 180, 225, 255), -1)


def _car(patch: NDArray[np.uint8], paint: _Paint) -> None:
    cv2.fillPoly(patch, [np.array([(24, 36), (36, 18), (66, 18), (78, 36)])], paint)
    cv2.fillPoly(patch, [np.array([(31, 35), (39, 22), (50, 22), (50, 35)])], _GLASS)
    cv2.fillPoly(patch, [np.array([(54, 35), (54, 22), (63, 22), (71, 35)])], _GLASS)
    cv2.rectangle(patch, (5, 36), (95, 60), paint, -1)
    _wheels(patch, 24, 76)


def _van(patch: NDArray[np.uint8], paint: _Paint) -> None:
    cv2.rectangle(patch, (6, 6), (94, 60), paint, -1)
    cv2.rectangle(patch, (72, 12), (92, 32), _GLASS, -1)
    cv2.line(patch, (66, 8), (66, 58), _BLACK, 2)
    _wheels(patch, 24, 76)


def _bicycle(patch: NDArray[np.uint8], paint: _Paint) -> None:
    for x in (26, 76):
        cv2.circle(patch, (x, 50), 18, _BLACK, 4)
    for a, b in (((26, 50), (44, 24)), ((44, 24), (68, 24)), ((68, 24), (50, 50)), ((50, 50), (26, 50))):
        cv2.line(patch, a, b, paint, 8)
    cv2.line(patch, (50, 50), (42, 16), paint, 8)
    cv2.line(patch, (76, 50), (66, 12), paint, 8)
    cv2.line(patch, (58, 10), (72, 10), _BLACK, 5)


def _dog(patch: NDArray[np.uint8], paint: _Paint) -> None:
    for x in (30, 38, 58, 66):
        cv2.line(patch, (x, 48), (x, 69), paint, 6)
    cv2.ellipse(patch, (48, 42), (26, 13), 0, 0, 360, paint, -1)
    cv2.circle(patch, (78, 28), 11, paint, -1)
    cv2.rectangle(patch, (84, 27), (96, 35), paint, -1)
    cv2.line(patch, (24, 38), (8, 20), paint, 6)
    cv2.circle(patch, (80, 26), 3, (250, 250, 250, 255), -1)


def _bag(patch: NDArray[np.uint8], paint: _Paint) -> None:
    cv2.ellipse(patch, (50, 34), (14, 18), 0, 180, 360, _BLACK, 5)
    cv2.fillPoly(patch, [np.array([(30, 34), (70, 34), (78, 69), (22, 69)])], paint)


def _box(patch: NDArray[np.uint8], paint: _Paint) -> None:
    cv2.rectangle(patch, (24, 18), (76, 69), paint, -1)
    cv2.rectangle(patch, (24, 18), (76, 69), _BLACK, 3)
    cv2.line(patch, (24, 18), (76, 69), _BLACK, 4)
    cv2.line(patch, (76, 18), (24, 69), _BLACK, 4)


_PAINTERS = {
    "person": _person,
    "car": _car,
    "van": _van,
    "bicycle": _bicycle,
    "dog": _dog,
    "bag": _bag,
    "box": _box,
}
