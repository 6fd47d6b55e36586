"""Real frames as the retrieval heads see them, and real questions about them: the embedded model on rendered yards."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from longwatch.daemon.calibration.calibration import load_heads
from longwatch.daemon.calibration.needles import embed_moments
from longwatch.daemon.model.prompt import BLANK
from longwatch.daemon.model.queries import compute_queries
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.memory.window import Window
from longwatch.retrieval.heads import RetrievalHeads
from longwatch.yard.asker import Asker
from longwatch.yard.kinds import NOW_KINDS, QUESTION_KINDS
from longwatch.yard.moment import Moment, gated_moments, scene_moments
from longwatch.yard.scene import Scene

FIRST_SEED, BUSY, YARDS, SECONDS = 70_000, 0.3, 16, 14_400
STILL_SEED, STILL_SECONDS = 79_000, 900
TRIES = 8


@dataclass(frozen=True)
class Frames:
    """What is kept of them, in the order in which they were seen, yard by yard.

    Attributes:
        keys: `[n, R, T, D]` float16, of the retrieval heads.
        questions: the heads' queries `[R, Tq, D]` float32, of each question one, and of a blank one beside it.
        flicker: how a token's keys differ between a frame and the next where the scene is still, `[m, R, T, D]`
            float16; zeros for the clock's tokens.
        text_tokens: those of the clock, which come first.
    """

    keys: Tensor
    questions: list[tuple[Tensor, Tensor]]
    flicker: Tensor
    text_tokens: int


def frames(cache: Path, told: Callable[[float], None]) -> Frames:
    """The frames of some yards, each of some hours, gated; encoded once and kept in `cache`.

    Args:
        told: takes the share that is done.
    """
    lm = VideoLM.load(ModelConfig())
    heads = load_heads("embedded", lm.fingerprint)
    assert heads is not None, "the embedded model is calibrated"
    file = cache / f"frames-blank-{lm.fingerprint[:16]}-{YARDS}.pt"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        made = _encode(lm, heads, told)
        torch.save(made.__dict__, file.with_suffix(".new"))
        file.with_suffix(".new").replace(file)
    return Frames(**torch.load(file))


def _encode(lm: VideoLM, heads: RetrievalHeads, told: Callable[[float], None]) -> Frames:
    keys, questions = [], []
    for yard in range(YARDS):
        seed = FIRST_SEED + yard
        moments = gated_moments(Scene(seed=seed, busy=BUSY), SECONDS)
        seen, window = _watch(lm, heads, moments, seed)
        keys.append(seen)
        questions += _ask(lm, heads, moments, window, np.random.default_rng([seed, 77]))
        told((yard + 1) / (YARDS + 1))
    moments = scene_moments(Scene(seed=STILL_SEED, busy=0.02), STILL_SECONDS)
    seen, _ = _watch(lm, heads, moments, STILL_SEED)
    still = [i for i in range(1, len(moments)) if _same(moments[i], moments[i - 1])]
    flicker = seen[still] - seen[[i - 1 for i in still]]
    flicker[:, :, : lm.prompt.clock_tokens] = 0
    return Frames(torch.cat(keys), questions, flicker, lm.prompt.clock_tokens)


def _watch(lm: VideoLM, heads: RetrievalHeads, moments: list[Moment], seed: int) -> tuple[Tensor, Window]:
    """The keys `[n, R, T, D]` of the retrieval heads, and the window as the last frame leaves it."""
    kept, window, ids = [], lm.new_window(), itertools.count(1)
    for inputs in embed_moments(lm, moments, seed, np.random.default_rng([seed, 9])):
        keys, values = lm.prefill_blocks(inputs, window)
        for block_keys, block_values in zip(keys, values, strict=True):
            window.append(next(ids), block_keys, block_values)
        kept.append(torch.stack([keys[:, layer, head] for layer, head in heads.kv_heads], 1).half())
    return torch.cat(kept), window


def _ask(
    lm: VideoLM, heads: RetrievalHeads, moments: list[Moment], window: Window, rng: np.random.Generator
) -> list[tuple[Tensor, Tensor]]:
    """A question of each kind about what slid out of the window, as far as something proves its answer."""

    asker, asked = Asker(moments[: -len(window.blocks)], rng), []
    for kind in QUESTION_KINDS:
        tries = (QUESTION_KINDS[kind].draw(asker) for _ in range(0 if kind in NOW_KINDS else TRIES))
        question = next((q for q in tries if q is not None and q.proof), None)
        if question is not None:
            both = [lm.prompt.question_ids(text) for text in (question.text, BLANK)]
            own, blank = (heads.queries(by_layer) for by_layer in compute_queries(lm, window, both, heads.last_layer))
            asked.append((own, blank))
    return asked


def _same(one: Moment, other: Moment) -> bool:
    """Whether nothing came, left, moved or changed, but for the light and the noise."""
    a, b = one.state, other.state
    return a.things == b.things and a[1:5] == b[1:5] and a.shake == b.shake
