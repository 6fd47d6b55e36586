"""`calibrate`: the search for a model's retrieval heads, with questions whose answers are planted.

1. Encode a haystack as frames are encoded.
2. Run each question behind `sink | window`. For each head, score every block outside the window by how much more of
   the head's attention it draws than for a blank question, as `HeadsRetriever` does.
3. Take heads greedily for what they add to those already taken, on some kinds of needle.
4. Check them on the other kinds (as QRHead does, arXiv 2506.09944).
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
from ...retrieval.heads import number_owners, score_by_head
from ..errors import ModelError
from ..model.prompt import BLANK
from ..model.queries import compute_queries
from ..model.video_lm import VideoLM
from .calibration import Calibration
from .needles import Haystack, Needles, choose_needles

FIRST = 8
MOST_HEADS = 4
MOST_SOUGHT = 2
DEPTHS = (1, 4, FIRST)
OnProgress = Callable[[float], None]


class Score(NamedTuple):
    """How well a ranking finds needles; compared from left to right."""

    among_first: float
    at_first: float
    reciprocal_rank: float


@dataclass(frozen=True)
class Measurement:
    """How every head scores the blocks for some needles.

    Attributes:
        lift: `[needles, heads, blocks]`, attention score less that of a blank question; heads layer by layer.
        proof: `[needles, 2, blocks]`, which blocks show each thing that is sought. A single thing stands here twice.
        kinds: of each needle.
    """

    lift: Tensor
    proof: Tensor
    kinds: tuple[str, ...]

    def ranks(self, score: Tensor) -> Tensor:
        """How many blocks rank before the last thing sought is found, `[needles]`, by scores `[needles, blocks]`.

        Any block that shows a thing will do for it. So a thing's rank is that of its best block, and a needle's rank
        is that of its worse thing.
        """
        best = score[:, None].masked_fill(~self.proof, -torch.inf).amax(-1)
        return (score[:, None] > best[:, :, None]).sum(-1).amax(-1)


def calibrate(model: VideoLM, needles: Needles | None = None, on_progress: OnProgress = lambda _: None) -> Calibration:
    """Measures a model. On a written log, this takes about a minute for each 100 million weights on one CPU core.

    Args:
        needles: default: the kind that fits the model.
        on_progress: called with the share that is done.

    Raises:
        ModelError: every needle lies in the window.
    """
    needles = choose_needles(model) if needles is None else needles
    chosen_on = measure_heads(
        model, needles.haystacks(model, seen=True), functools.partial(_report_part, on_progress, 0, 2)
    )
    checked_on = measure_heads(
        model, needles.haystacks(model, seen=False), functools.partial(_report_part, on_progress, 1, 2)
    )
    chosen = choose_heads(chosen_on, MOST_HEADS).heads
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


class HeadChoice(NamedTuple):
    """Heads by their number, best first, and how well they find together."""

    heads: list[int]
    score: Score


def choose_heads(measured: Measurement, most: int) -> HeadChoice:
    """Takes one head after another, each time the one that helps most, as long as any helps."""
    lift = measured.lift
    best = HeadChoice([], Score(-1.0, 0.0, 0.0))
    together = torch.zeros_like(lift[:, 0])
    while len(best.heads) < min(most, lift.shape[1]):
        others = [i for i in range(lift.shape[1]) if i not in best.heads]
        scores = {i: _rate(measured.ranks(together + lift[:, i])) for i in others}
        head = max(others, key=scores.__getitem__)
        if scores[head] <= best.score:
            break
        best = HeadChoice([*best.heads, head], scores[head])
        together = together + lift[:, head]
    return best


def _rate(ranks: Tensor) -> Score:
    return Score(_share_among(ranks, FIRST), _share_among(ranks, 1), float((1 / (1 + ranks)).mean()))


def _share_among(ranks: Tensor, first: int) -> float:
    return round(float((ranks < first).float().mean()), 3)


def measure_heads(
    model: VideoLM, haystacks: Iterable[Haystack], on_progress: OnProgress = lambda _: None
) -> Measurement:
    """Runs every needle. A smaller haystack is filled up with blocks that score nothing.

    Raises:
        ModelError: every needle lies in the window.
    """
    found: list[Measurement] = []
    everything = list(haystacks)
    for done, haystack in enumerate(everything):
        found += _measure_haystack(model, haystack, functools.partial(_report_part, on_progress, done, len(everything)))
    if not found:
        raise ModelError(
            "model.window_tokens: the window is so large that every test question lies in it; make it smaller"
        )
    most = max(part.lift.shape[-1] for part in found)
    lift, proof = (
        torch.cat([pad(getattr(part, name), (0, most - part.lift.shape[-1]), value=nothing) for part in found])
        for name, nothing in (("lift", 0.0), ("proof", False))
    )
    return Measurement(lift, proof, tuple(kind for part in found for kind in part.kinds))


def _report_part(on_progress: OnProgress, part: int, parts: int, share: float) -> None:
    on_progress((part + share) / parts)


def _measure_haystack(model: VideoLM, haystack: Haystack, on_progress: OnProgress) -> list[Measurement]:
    """One haystack; an empty list if everything sought is still in the window."""
    steps = haystack.blocks + len(haystack.needles)
    keys, window = encode_haystack(model, haystack, lambda block: on_progress(block / steps))
    needles = [n for n in haystack.needles if all(thing[0] < len(keys) for thing in n.things)]
    if not needles:
        return []
    questions = [model.prompt.question_ids(text) for text in (BLANK, *(needle.question for needle in needles))]
    asked = []
    for i, queries in enumerate(compute_queries(model, window, questions)):
        asked.append(queries)
        on_progress((haystack.blocks + i) / steps)
    scores = score_blocks(asked, keys)
    proof = torch.zeros(len(needles), MOST_SOUGHT, len(keys), dtype=torch.bool)
    for i, needle in enumerate(needles):
        for n in range(MOST_SOUGHT):
            thing = needle.things[n % len(needle.things)]
            proof[i, n, [block for block in thing if block < len(keys)]] = True
    return [Measurement(scores[1:] - scores[:1], proof, tuple(needle.kind for needle in needles))]


def encode_haystack(
    model: VideoLM, haystack: Haystack, on_progress: Callable[[int], None]
) -> tuple[list[Tensor], Window]:
    """The keys `[L, H, T, D]` of each block that has slid out of the window, as they were computed, and the window."""
    keys: list[Tensor] = []
    window = model.new_window()
    for inputs in haystack.inputs:
        new_keys, new_values = model.prefill_blocks(inputs, window)
        for block_keys, block_values in zip(new_keys, new_values, strict=True):
            keys.append(block_keys)
            window.append(len(keys), block_keys, block_values)
        on_progress(len(keys))
    return keys[: len(keys) - len(window.blocks)], window


def score_blocks(asked: Sequence[dict[int, Tensor]], keys: Sequence[Tensor]) -> Tensor:
    """How much of every head's attention every block draws, `[questions, layers x heads, blocks]` on the CPU.

    Layer by layer, so that the keys of all layers are never in memory twice.
    """
    owner = number_owners([block.shape[2] for block in keys], keys[0].device)
    by_layer = []
    for layer in range(keys[0].shape[0]):
        of_layer = torch.cat([block[layer] for block in keys], 1).float()  # [H, all tokens, D]
        of_all = [score_by_head(queries[layer], of_layer, owner, len(keys)).cpu() for queries in asked]
        by_layer.append(torch.stack(of_all))
    return torch.cat(by_layer, 1)
