"""Finds a model's retrieval heads with planted needles: `calibrate`.

Haystacks are encoded as frames are, questions run behind `sink | window`, and the blocks outside the window are ranked
by how much more they draw a head's attention than for a blank question, as `HeadsRetriever` does. Heads are taken
greedily for what they add together, on some kinds of needle, and checked on others (as QRHead does, arXiv 2506.09944).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ...memory.window import Window
from ...retrieval.heads import owners, score_by_head
from ..errors import ModelError
from ..model.prompt import BLANK
from ..model.video_lm import VideoLM
from .calibration import Calibration
from .needles import Haystack, Needles, fitting

FIRST = 8
MOST_HEADS = 4
MOST_SOUGHT = 2
DEPTHS = (1, 4, FIRST)
Told = Callable[[float], None]


class Score(NamedTuple):
    """How well a ranking finds needles; compared from left to right."""

    among_first: float
    at_first: float
    reciprocal_rank: float


@dataclass(frozen=True)
class Measured:
    """What every head saw of some needles.

    Attributes:
        lift: `[needles, heads, blocks]`, attention score beyond that of a blank question; heads layer by layer.
        proof: `[needles, 2, blocks]`, which blocks show each thing that is sought; the only thing stands twice.
        kinds: of each needle.
    """

    lift: Tensor
    proof: Tensor
    kinds: tuple[str, ...]

    def ranks(self, score: Tensor) -> Tensor:
        """How many blocks come before all that is sought is found, `[needles]`, by scores `[needles, blocks]`."""
        best = score[:, None].masked_fill(~self.proof, -torch.inf).amax(-1)
        return (score[:, None] > best[:, :, None]).sum(-1).amax(-1)


def calibrate(model: VideoLM, needles: Needles | None = None, told: Told = lambda _: None) -> Calibration:
    """Measures a model, which takes about a minute for each 100 million weights on a processor core.

    Args:
        needles: those that fit the model are taken where none are given.
        told: hears the share that is done.

    Raises:
        ModelError: no needle could be asked for.
    """
    needles = fitting(model) if needles is None else needles
    chosen_on = measure(model, needles.haystacks(model, seen=True), functools.partial(_told_part, told, 0, 2))
    checked_on = measure(model, needles.haystacks(model, seen=False), functools.partial(_told_part, told, 1, 2))
    chosen = choose(chosen_on, MOST_HEADS).heads
    ranks = checked_on.ranks(checked_on.lift[:, chosen].mean(1))
    alone = [checked_on.ranks(checked_on.lift[:, head]) for head in chosen]
    return Calibration(
        fingerprint=model.fingerprint,
        heads=tuple(divmod(head, model.query_heads) for head in chosen),
        group=model.query_heads // model.geometry.kv_heads,
        recall={f"recall@{k}": _share_among(ranks, k) for k in DEPTHS},
        needles=needles.name,
        chosen_on=tuple(dict.fromkeys(chosen_on.kinds)),
        checked_on=tuple(dict.fromkeys(checked_on.kinds)),
        questions=len(ranks),
        blocks=checked_on.lift.shape[-1],
        alone=tuple(_share_among(ranks, FIRST) for ranks in alone),
    )


class Chosen(NamedTuple):
    """Heads by their number, best first, and how well they find together."""

    heads: list[int]
    score: Score


def choose(measured: Measured, most: int) -> Chosen:
    """Takes head after head, the one which helps most, as long as any helps."""
    lift = measured.lift
    best = Chosen([], Score(-1.0, 0.0, 0.0))
    together = torch.zeros_like(lift[:, 0])
    while len(best.heads) < min(most, lift.shape[1]):
        others = [i for i in range(lift.shape[1]) if i not in best.heads]
        scores = {i: _score(measured.ranks(together + lift[:, i])) for i in others}
        head = max(others, key=scores.__getitem__)
        if scores[head] <= best.score:
            break
        best = Chosen([*best.heads, head], scores[head])
        together = together + lift[:, head]
    return best


def _score(ranks: Tensor) -> Score:
    return Score(_share_among(ranks, FIRST), _share_among(ranks, 1), float((1 / (1 + ranks)).mean()))


def _share_among(ranks: Tensor, first: int) -> float:
    return round(float((ranks < first).float().mean()), 3)


def measure(model: VideoLM, haystacks: Iterable[Haystack], told: Told = lambda _: None) -> Measured:
    """Runs every needle; a smaller haystack is filled up with blocks that get nothing.

    Raises:
        ModelError: there is no needle outside the window.
    """
    found: list[Measured] = []
    everything = list(haystacks)
    for done, haystack in enumerate(everything):
        found += _measure(model, haystack, functools.partial(_told_part, told, done, len(everything)))
    if not found:
        raise ModelError("model.window_tokens: no needle lies outside so large a window; make it smaller")
    most = max(part.lift.shape[-1] for part in found)
    lift, proof = (
        torch.cat([pad(getattr(part, name), (0, most - part.lift.shape[-1]), value=nothing) for part in found])
        for name, nothing in (("lift", 0.0), ("proof", False))
    )
    return Measured(lift, proof, tuple(kind for part in found for kind in part.kinds))


def _told_part(told: Told, part: int, parts: int, share: float) -> None:
    told((part + share) / parts)


def _measure(model: VideoLM, haystack: Haystack, told: Told) -> list[Measured]:
    """One haystack; an empty list where all that is sought is still in the window."""
    steps = haystack.blocks + len(haystack.needles)
    keys, window = encode(model, haystack, lambda block: told(block / steps))
    needles = [n for n in haystack.needles if all(thing[0] < len(keys) for thing in n.things)]
    if not needles:
        return []
    questions = [model.prompt.question_ids(text) for text in (BLANK, *(needle.question for needle in needles))]
    asked = []
    for i, queries in enumerate(model.ask(window, questions)):
        asked.append(queries)
        told((haystack.blocks + i) / steps)
    drawn = scores(asked, keys)
    proof = torch.zeros(len(needles), MOST_SOUGHT, len(keys), dtype=torch.bool)
    for i, needle in enumerate(needles):
        for n in range(MOST_SOUGHT):
            thing = needle.things[n % len(needle.things)]
            proof[i, n, [block for block in thing if block < len(keys)]] = True
    return [Measured(drawn[1:] - drawn[:1], proof, tuple(needle.kind for needle in needles))]


def encode(model: VideoLM, haystack: Haystack, told: Callable[[int], None]) -> tuple[list[Tensor], Window]:
    """Each block's keys `[L, H, T, D]` that has slid out of the window, as they were computed; and the window."""
    keys: list[Tensor] = []
    window = model.new_window()
    for inputs in haystack.inputs:
        new_keys, new_values = model.prefill_blocks(inputs, window)
        for block_keys, block_values in zip(new_keys, new_values, strict=True):
            keys.append(block_keys)
            window.append(len(keys), block_keys, block_values)
        told(len(keys))
    return keys[: len(keys) - len(window.blocks)], window


def scores(asked: Sequence[dict[int, Tensor]], keys: Sequence[Tensor]) -> Tensor:
    """How much every block draws every head's attention, `[questions, layers x heads, blocks]` on the CPU.

    Layer by layer, so that all keys are never in memory twice.
    """
    owner = owners([block.shape[2] for block in keys], keys[0].device)
    by_layer = []
    for layer in range(keys[0].shape[0]):
        of_layer = torch.cat([block[layer] for block in keys], 1).float()  # [H, all tokens, D]
        of_all = [score_by_head(queries[layer], of_layer, owner, len(keys)).cpu() for queries in asked]
        by_layer.append(torch.stack(of_all))
    return torch.cat(by_layer, 1)
