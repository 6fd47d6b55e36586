"""Stage 3: which heads look back. Every head of the embedded model is scored on needles whose place is known.

Rendered hours (seeds of their own) are encoded as the daemon does it; questions whose proof slid out of the window are
run behind `sink | window`, and every head's attention mass ranks all blocks. Heads are taken greedily for what they add
to the share of questions of which every thing that they seek (both of "which came first, the car or the dog?") has a
block among the first eight, and scored on the other half.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from longwatch.daemon.capture import quiz
from longwatch.daemon.capture.moments import gated_moments
from longwatch.daemon.capture.paint import paint
from longwatch.daemon.capture.scene import Scene
from longwatch.daemon.model.calibration import FILE
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.retrieval.heads import RetrievalHeads

from .contexts import sought

CALIBRATION_SEEDS = 50_000
KINDS = ("appear", "colour", "when", "last", "side", "extra", "left", "order")
MOST_SOUGHT = 2
SECONDS, BLOCKS, CHUNK = 7200, 1000, 8
FIRST = 8


def calibrate(folder: Path, streams: int = 12, each: int = 16, most: int = 3) -> None:
    """Writes `calibration.json` into a checkpoint folder and prints the recall of what was chosen."""
    lm = VideoLM.load(ModelConfig(name=str(folder)))
    hits = map(torch.cat, zip(*(_score_stream(lm, CALIBRATION_SEEDS + i, each) for i in range(streams)), strict=True))
    mass, proof = hits
    chosen, half = _choose(mass[0::2], proof[0::2], most), slice(1, None, 2)
    recall = {f"recall@{k}": round(_recall(mass[half], proof[half], chosen, k), 3) for k in (1, 4, 8)}
    heads = [divmod(i, lm.query_heads) for i in chosen]
    group = lm.query_heads // lm.geometry.kv_heads
    RetrievalHeads(tuple(heads), group).save(folder / FILE, lm.fingerprint, recall)
    print(f"calibrated on {len(mass)} questions: heads {heads}, on the half not chosen by {recall}", flush=True)


def _score_stream(lm: VideoLM, seed: int, each: int) -> tuple[Tensor, Tensor]:
    """The mass of every head on every block, and which blocks show what is sought, thing by thing.

    Returns:
        `[questions, heads, blocks]`, and `[questions, 2, blocks]`, where the only thing stands twice.
    """
    scene, rng = Scene(seed=seed, busy=0.2), np.random.default_rng([seed, 9])
    moments = gated_moments(scene, SECONDS)[:BLOCKS]
    keys, window = [], lm.new_window()
    for start in range(0, len(moments), CHUNK):
        part = moments[start : start + CHUNK]
        inputs = lm.frame_inputs([paint(m.state, seed, rng) for m in part], [m.time_ns for m in part])
        new_keys, new_values = lm.prefill_blocks(inputs, window)
        for i in range(len(part)):
            window.append(start + i + 1, new_keys[i], new_values[i])
        keys.append(new_keys)
    blocks = torch.cat(keys).float()  # [n, L, H, T, D]
    masses, proofs = [], []
    for kind in KINDS:
        for _ in range(each):
            question = quiz.ask(kind, moments[: -len(window.blocks)], rng)
            if question is None or not question.proof:
                continue
            asked = lm.ask(window, lm.prompt.question_ids(question.text)).by_layer
            mass = torch.stack([_masses(asked[layer], blocks[:, layer]) for layer in range(lm.geometry.layers)])
            masses.append(functional.pad(mass.flatten(0, 1), (0, BLOCKS - len(moments))))
            things = sought(question)
            proof = torch.zeros(MOST_SOUGHT, BLOCKS)
            for n in range(MOST_SOUGHT):
                proof[n, [place.moment for place in things[n % len(things)]]] = 1
            proofs.append(proof)
    return torch.stack(masses), torch.stack(proofs)


def _masses(queries: Tensor, keys: Tensor) -> Tensor:
    """`[Hq, n]`: each head's attention mass, before rotary, on blocks `[n, H, T, D]`."""
    of_heads = keys.repeat_interleave(queries.shape[0] // keys.shape[1], 1).transpose(0, 1)  # [Hq, n, T, D]
    scores = torch.einsum("hqd,hntd->hqnt", queries, of_heads) * queries.shape[-1] ** -0.5
    return scores.flatten(2).softmax(-1).unflatten(-1, scores.shape[2:]).sum(-1).mean(1)


def _choose(mass: Tensor, proof: Tensor, most: int) -> list[int]:
    chosen: list[int] = []
    best = (0.0, 0.0)
    while len(chosen) < most:
        scored = [
            (_recall(mass, proof, [*chosen, i], FIRST), _recall(mass, proof, [*chosen, i], 1), i)
            for i in range(mass.shape[1])
            if i not in chosen
        ]
        top = max(scored)
        if top[:2] <= best:
            break
        best, chosen = top[:2], [*chosen, top[2]]
    return chosen


def _recall(mass: Tensor, proof: Tensor, heads: list[int], first: int) -> float:
    """The share of questions with a block for each thing among the first so many by the heads' mean mass."""
    top = mass[:, heads].mean(1).topk(first, -1).indices
    return float(proof.gather(2, top[:, None].expand(-1, MOST_SOUGHT, -1)).amax(-1).amin(-1).mean())
