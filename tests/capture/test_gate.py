"""The gate against the rendered yard: noise and slow light are nothing new, a small thing is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from longwatch.daemon.capture.gate import Gate
from longwatch.daemon.capture.settings import SourceConfig
from longwatch.yard.paint import paint
from longwatch.yard.scene import Scene
from longwatch.yard.state import State

SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS
LEVELS = SourceConfig(url="scene://").gate_levels


def yard(number: int, light: float = 1.0) -> NDArray[np.uint8]:
    """The same empty yard in its own noise for every number."""
    state: State = Scene(seed=1, busy=0.0).state(1.0)._replace(light=light)
    return paint(state, 1, np.random.default_rng(number))


def test_noise_is_nothing_new() -> None:
    gate = Gate(LEVELS, HOUR_NS)
    assert [gate.is_new(yard(n), n * SECOND_NS) for n in range(300)] == [True] + [False] * 299


def test_noise_in_the_dark_is_nothing_new() -> None:
    gate, rng = Gate(LEVELS, HOUR_NS), np.random.default_rng(0)
    dark = [np.clip(yard(n) * 0.05 + rng.normal(0, 4, (288, 384, 3)), 0, 255).astype(np.uint8) for n in range(50)]
    assert sum(gate.is_new(image, n * SECOND_NS) for n, image in enumerate(dark)) == 1


def test_light_that_drifts_by_fifteen_percent_is_hardly_ever_new() -> None:
    gate = Gate(LEVELS, HOUR_NS)
    lights = 1 + 0.15 * np.sin(np.arange(600) / 97)
    assert sum(gate.is_new(yard(n, light), n * SECOND_NS) for n, light in enumerate(lights)) <= 6


@pytest.mark.parametrize("contrast", [25, -25, 60])
def test_a_thing_of_twenty_pixels_is_new_wherever_it_stands(contrast: int) -> None:
    rng = np.random.default_rng(2)
    for number in range(40):
        gate = Gate(LEVELS, HOUR_NS)
        gate.is_new(yard(number), 0)
        image = yard(number + 1000).astype(np.int16)
        x, y = rng.integers(0, 364), rng.integers(0, 268)
        image[y : y + 20, x : x + 20] += contrast
        assert gate.is_new(np.clip(image, 0, 255).astype(np.uint8), SECOND_NS), (x, y)


def test_a_thing_that_has_gone_is_new_too() -> None:
    gate, thing = Gate(LEVELS, HOUR_NS), yard(1)
    thing[100:120, 100:120] = 0
    assert [gate.is_new(image, 0) for image in (yard(0), thing, thing, yard(2))] == [True, True, False, True]


def test_a_light_that_goes_out_is_new() -> None:
    gate = Gate(LEVELS, HOUR_NS)
    gate.is_new(yard(0), 0)
    assert gate.is_new(yard(1, light=0.5), SECOND_NS)


def test_every_visit_to_the_yard_is_kept() -> None:
    scene, gate = Scene(seed=5, busy=0.3), Gate(LEVELS, HOUR_NS)
    kept = {t for t in range(600) if gate.is_new(scene.render(t), t * SECOND_NS)}
    for visit in scene.visits(5, 590):
        assert any(visit.start <= t <= visit.end for t in kept)
    assert len(kept) < 300


def test_a_still_scene_is_kept_once_in_keep_seconds() -> None:
    gate = Gate(LEVELS, 10 * SECOND_NS)
    assert [n for n in range(31) if gate.is_new(yard(n), n * SECOND_NS)] == [0, 10, 20, 30]


def test_level_zero_keeps_every_frame() -> None:
    gate = Gate(0, HOUR_NS)
    assert all(gate.is_new(yard(0), n) for n in range(3))


def test_another_resolution_of_the_same_picture_is_nothing_new() -> None:
    gate = Gate(LEVELS, HOUR_NS)
    gate.is_new(yard(0), 0)
    assert not gate.is_new(np.repeat(np.repeat(yard(1), 2, axis=0), 2, axis=1), SECOND_NS)
