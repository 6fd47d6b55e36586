"""The picture of a `State`: house, fence and things, light, rain, sensor noise and a camera that shakes.

Knows nothing of how states follow one another.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

from .state import CELL_HEIGHT, COLOURS, HEIGHT, WIDTH, State, Thing

NOISE_SIGMA = 4.0
VARIANTS = 16  # houses of different paint
_DARK = (45, 42, 40)
_MARGIN = 64  # by which the pools are larger than the picture, so that no two frames need be alike


def paint(state: State, variant: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A picture of any state, in the paint of house `variant`: BGR, `[288, 384, 3]`, the noise drawn from `rng`."""
    image = _house(variant % VARIANTS, state.door_open, state.lamp_on, state.gate_open, state.digit).copy()
    for thing in state.things:
        _draw_thing(image, thing)
    if state.shake != (0, 0):
        image = _shifted(image, *state.shake)
    lit: NDArray[np.int16] = cv2.addWeighted(
        image, state.light, _window(_noise_pool(), rng), 1.0, 0.0, dtype=cv2.CV_16S
    )
    if state.lamp_on and state.light < 0.8:
        lit += _halo()
    if state.rain:
        lit += _window(_rain_pool(), rng)
    return np.clip(lit, 0, 255).astype(np.uint8)


def _window(pool: NDArray[np.int16], rng: np.random.Generator) -> NDArray[np.int16]:
    """A random part of a pool, as large as the picture."""
    row, column = rng.integers(0, _MARGIN, 2)
    return pool[row : row + HEIGHT, column : column + WIDTH]


def _shifted(image: NDArray[np.int16], right: int, down: int) -> NDArray[np.int16]:
    """The picture moved by whole pixels, its edges repeated."""
    moved: NDArray[np.int16] = cv2.warpAffine(
        image, np.array([[1.0, 0, right], [0, 1.0, down]]), (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE
    )
    return moved


@functools.lru_cache(maxsize=1)
def _noise_pool() -> NDArray[np.int16]:
    rng = np.random.default_rng(0)
    return rng.normal(0, NOISE_SIGMA, (HEIGHT + _MARGIN, WIDTH + _MARGIN, 3)).round().astype(np.int16)


@functools.lru_cache(maxsize=1)
def _rain_pool() -> NDArray[np.int16]:
    """Thin bright streaks, all at one slant."""
    rng = np.random.default_rng(1)
    streaks = np.zeros((HEIGHT + _MARGIN, WIDTH + _MARGIN, 3), np.uint8)
    for x, y, length in zip(
        rng.integers(0, WIDTH + _MARGIN, 900),
        rng.integers(0, HEIGHT + _MARGIN, 900),
        rng.integers(5, 12, 900),
        strict=True,
    ):
        cv2.line(streaks, (int(x), int(y)), (int(x - length // 3), int(y + length)), (34, 32, 30), 1)
    return streaks.astype(np.int16)


@functools.lru_cache(maxsize=1)
def _halo() -> NDArray[np.int16]:
    """The warm light around a lamp at night."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    glow = np.exp(-(((x - 144) / 70) ** 2 + ((y - 38) / 55) ** 2))
    warm: NDArray[np.int16] = (glow[..., None] * np.array((25, 60, 70))).astype(np.int16)
    return warm


@functools.lru_cache(maxsize=512)
def _house(variant: int, door_open: bool, lamp_on: bool, gate_open: bool, digit: int) -> NDArray[np.int16]:
    rng = np.random.default_rng([variant, 99])
    wall = tuple(int(v) for v in np.array((125, 140, 150)) + rng.integers(-14, 15, 3))
    ground = tuple(int(v) for v in np.array((118, 124, 122)) + rng.integers(-12, 13, 3))
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    image[:CELL_HEIGHT] = wall
    image[CELL_HEIGHT:] = ground
    for lane in (2, 3):
        cv2.line(image, (0, lane * CELL_HEIGHT), (WIDTH, lane * CELL_HEIGHT), tuple(v - 10 for v in ground), 2)
    _draw_door(image, door_open)
    glow = (140, 250, 255) if lamp_on else (72, 70, 68)
    cv2.line(image, (144, 0), (144, 20), _DARK, 5)
    cv2.circle(image, (144, 38), 22, glow, -1, cv2.LINE_AA)
    cv2.circle(image, (144, 38), 22, _DARK, 2, cv2.LINE_AA)
    _draw_gate(image, gate_open)
    cv2.rectangle(image, (304, 4), (368, 68), (235, 238, 238), -1)
    cv2.rectangle(image, (304, 4), (368, 68), _DARK, 3)
    cv2.putText(image, str(digit), (315, 60), cv2.FONT_HERSHEY_SIMPLEX, 2.1, (20, 20, 20), 7, cv2.LINE_AA)
    return image.astype(np.int16)


def _draw_door(image: NDArray[np.uint8], is_open: bool) -> None:
    cv2.rectangle(image, (22, 6), (74, 71), (60, 80, 105), -1)
    if is_open:
        cv2.rectangle(image, (27, 11), (69, 71), (15, 15, 18), -1)
        cv2.fillPoly(image, [np.array([(27, 11), (40, 17), (40, 71), (27, 71)])], (70, 105, 150))
    else:
        cv2.rectangle(image, (27, 11), (69, 71), (70, 105, 150), -1)
        cv2.circle(image, (62, 42), 4, (40, 215, 235), -1, cv2.LINE_AA)


def _draw_gate(image: NDArray[np.uint8], is_open: bool) -> None:
    """Two posts, and bars between them unless they are swung aside; behind them the street."""
    cv2.rectangle(image, (200, 14), (280, 71), (92, 96, 98), -1)
    bars = range(206, 218, 5) if is_open else range(208, 276, 8)
    for x in bars:
        cv2.line(image, (x, 16), (x, 70), (35, 60, 40), 4)
    if not is_open:
        cv2.line(image, (204, 24), (276, 24), (35, 60, 40), 5)
        cv2.line(image, (204, 60), (276, 60), (35, 60, 40), 5)
    for x in (200, 280):
        cv2.line(image, (x, 6), (x, 71), _DARK, 7)


def _draw_thing(image: NDArray[np.int16], thing: Thing) -> None:
    """Draws into a patch of its own, so that a thing half outside the picture costs nothing special."""
    patch = np.zeros((CELL_HEIGHT, 100, 4), np.uint8)
    _PAINTERS[thing.kind](patch, (*COLOURS[thing.colour], 255))
    if thing.extra:
        _EXTRA_PAINTERS[thing.extra](patch)
    left, top = round(thing.x) - 50, thing.lane * CELL_HEIGHT
    begin, end = max(0, left), min(WIDTH, left + 100)
    if begin >= end:
        return
    seen = patch[:, begin - left : end - left]
    target = image[top : top + CELL_HEIGHT, begin:end]
    np.copyto(target, seen[..., :3].astype(np.int16), where=seen[..., 3:] > 127)


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


def _cat(patch: NDArray[np.uint8], paint: _Paint) -> None:
    """Sits upright, with pointed ears and its tail in the air."""
    cv2.ellipse(patch, (44, 54), (17, 16), 0, 0, 360, paint, -1)
    cv2.circle(patch, (56, 31), 13, paint, -1)
    cv2.fillPoly(patch, [np.array([(44, 26), (45, 8), (55, 20)])], paint)
    cv2.fillPoly(patch, [np.array([(57, 20), (67, 8), (68, 26)])], paint)
    cv2.ellipse(patch, (22, 48), (12, 22), 0, 90, 270, paint, 6)
    for x in (52, 61):
        cv2.circle(patch, (x, 30), 3, (60, 230, 190, 255), -1)


def _bag(patch: NDArray[np.uint8], paint: _Paint) -> None:
    cv2.ellipse(patch, (50, 34), (14, 18), 0, 180, 360, _BLACK, 5)
    cv2.fillPoly(patch, [np.array([(30, 34), (70, 34), (78, 69), (22, 69)])], paint)


def _box(patch: NDArray[np.uint8], paint: _Paint) -> None:
    cv2.rectangle(patch, (24, 18), (76, 69), paint, -1)
    cv2.rectangle(patch, (24, 18), (76, 69), _BLACK, 3)
    cv2.line(patch, (24, 18), (76, 69), _BLACK, 4)
    cv2.line(patch, (76, 18), (24, 69), _BLACK, 4)


def _hat(patch: NDArray[np.uint8]) -> None:
    cv2.rectangle(patch, (32, 5), (69, 11), (95, 50, 20, 255), -1)
    cv2.rectangle(patch, (40, 0), (61, 7), (95, 50, 20, 255), -1)


def _umbrella(patch: NDArray[np.uint8]) -> None:
    cv2.ellipse(patch, (72, 24), (27, 22), 0, 180, 360, (170, 80, 190, 255), -1)
    cv2.line(patch, (72, 24), (72, 56), _BLACK, 3)


_PAINTERS = {
    "person": _person,
    "car": _car,
    "van": _van,
    "bicycle": _bicycle,
    "dog": _dog,
    "cat": _cat,
    "bag": _bag,
    "box": _box,
}
_EXTRA_PAINTERS = {"hat": _hat, "umbrella": _umbrella}
