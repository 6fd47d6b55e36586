"""The token gate against what the embedded model's eyes make of the rendered yard."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from longwatch.daemon.capture.gate import Gate
from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.token_gate import TokenGate
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.yard.paint import paint
from longwatch.yard.scene import Scene

SECOND_NS = 1_000_000_000
COSINE, TEXT, VISUAL = 0.9, 8, 16
Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def lm() -> VideoLM:
    return VideoLM.load(ModelConfig(name="embedded", dtype="float32"))


def make_gate(window_tokens: int = 100_000, whole_seconds: int = 3600) -> TokenGate:
    return TokenGate(COSINE, whole_ns=whole_seconds * SECOND_NS, window_tokens=window_tokens, text_tokens=TEXT)


def kept_of(lm: VideoLM, gate: TokenGate, pictures: list[Picture]) -> list[list[int]]:
    """Which of the sixteen places of each picture, a second apart, are kept."""
    kept = []
    for second, frame in enumerate(lm.embed_frames(pictures, [n * SECOND_NS for n in range(len(pictures))])):
        places = gate.places(frame, second * SECOND_NS)
        assert places is None or (places.of == TEXT + VISUAL and places.kept[:TEXT] == tuple(range(TEXT)))
        kept.append([*range(VISUAL)] if places is None else [place - TEXT for place in places.kept[TEXT:]])
    return kept


def empty_yard(number: int) -> Picture:
    """The same yard in its own noise for every number."""
    return paint(Scene(seed=1, busy=0.0).state(1.0), 1, np.random.default_rng(number))


def with_box(number: int, x: int, y: int = 150) -> Picture:
    """A red box stands in the yard."""
    picture = empty_yard(number)
    cv2.rectangle(picture, (x, y), (x + 40, y + 40), (20, 20, 220), -1)
    return picture


def test_noise_is_nothing_new_and_a_thing_is_new_where_it_stands(lm: VideoLM) -> None:
    kept = kept_of(lm, make_gate(), [*(empty_yard(n) for n in range(5)), with_box(5, 200), with_box(6, 200)])
    assert kept[0] == [*range(VISUAL)]
    assert kept[1:5] == [[]] * 4
    assert 0 < len(kept[5]) < VISUAL / 2
    assert kept[6] == []


def test_a_thing_that_creeps_is_kept_again_and_again(lm: VideoLM) -> None:
    """Two pixels a frame change no token by much; against the token kept last they add up."""
    pictures = [with_box(n, 40 + 2 * n) for n in range(120)]
    kept = kept_of(lm, make_gate(), pictures)
    touched = {place for places in kept[1:] for place in places}
    assert len(touched) >= 3
    assert sum(bool(places) for places in kept[60:]) >= 2
    frames = lm.embed_frames(pictures, [0] * len(pictures))[:, TEXT:]
    steps = torch.nn.functional.cosine_similarity(frames[1:], frames[:-1], dim=-1)
    assert (steps < COSINE).sum() < sum(len(places) for places in kept[1:])  # frame before frame would miss some


def test_a_lamp_that_dims_for_minutes_is_new_before_it_is_out(lm: VideoLM) -> None:
    """Both gates: the frame gate lets it through, and the token gate keeps the places that it lights."""
    pictures = []
    for n in range(120):
        picture = empty_yard(n)
        glow = np.zeros_like(picture)
        cv2.circle(glow, (110, 90), 45, (90, 160, 190), -1)
        pictures.append(cv2.add(picture, (glow * (1 - n / 119)).astype(np.uint8)))
    config = SourceConfig(url="scene://")
    gate = Gate(config.gate_levels, 3600 * SECOND_NS)
    passed = [picture for n, picture in enumerate(pictures) if gate.is_new(picture, n * SECOND_NS)]
    assert 3 <= len(passed) <= 40
    kept = kept_of(lm, make_gate(), passed)
    assert any(kept[1:])
    assert all(len(places) < VISUAL for places in kept[1:])


def test_what_has_left_the_window_is_kept_again(lm: VideoLM) -> None:
    """At every moment the newest tokens that the window holds show every place."""
    window_tokens = 100
    pictures = [with_box(n, 60 + 90 * (n % 3)) for n in range(40)]
    kept = kept_of(lm, make_gate(window_tokens), pictures)
    assert any(0 < len(places) < VISUAL for places in kept)
    for newest in range(len(kept)):
        room, seen = window_tokens, set()
        for places in kept[newest::-1]:
            room -= TEXT + len(places) if places else 0
            if room < 0:
                break
            seen.update(places)
        assert seen == {*range(VISUAL)}


def test_a_frame_is_whole_at_an_interval_and_after_a_reset(lm: VideoLM) -> None:
    gate = make_gate(whole_seconds=10)
    kept = kept_of(lm, gate, [empty_yard(n) for n in range(25)])
    assert [n for n, places in enumerate(kept) if len(places) == VISUAL] == [0, 10, 20]
    gate.reset()
    assert gate.places(lm.embed_frames([empty_yard(99)], [0])[0], 0) is None
