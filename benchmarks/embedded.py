"""What the embedded model can see and say, on yards it was never trained on, memory and retrieval left out.

Each context is 28 moments of the last half hour and the 4 newest, encoded as the daemon encodes them. Every question is
asked twice: with all 32 frames attended, and with only the frames that prove the answer (four others where nothing can)
and the 4 newest. Phrasings that were held out of training are scored apart.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import multiprocessing
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple, cast

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from safetensors import safe_open

from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.model.context import Context
from longwatch.daemon.model.family import EMBEDDED
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.token_gate import gate_frames
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.memory.block import Block
from longwatch.yard.asker import Asker
from longwatch.yard.kinds import QUESTION_KINDS, agrees
from longwatch.yard.moment import Moment, gated_moments
from longwatch.yard.paint import paint
from longwatch.yard.question import Question
from longwatch.yard.scene import Scene

FIRST_SEED = 95_000
FRAMES, RECENT, CHUNK = 32, 4, 8
CONTEXTS, YARDS = 8, 4  # contexts of a yard; yards that are asked about at a time
MOST_TOKENS = 24
NO_SIGNATURE = torch.zeros(1, 4, dtype=torch.float16)


class Kept(NamedTuple):
    """A watched yard: its moments, and each one's block."""

    moments: list[Moment]
    blocks: list[Block]


class Score(NamedTuple):
    """Whether one question was answered rightly, in the full and in the sparse context."""

    kind: str
    held_out: bool
    full: bool
    sparse: bool


def as_it_is(block: Block) -> Block:
    """A block that nothing is done to."""
    return block


def watch(lm: VideoLM, seed: int, spill: Callable[[Block], Block] = as_it_is, gate_cosine: float = 1.0) -> Kept:
    """Encodes half an hour of a yard, gated, behind the sliding window.

    Args:
        spill: gives each block back as a memory would; what comes back stands in the window and is kept.
        gate_cosine: as `SourceConfig.gate_cosine`; a frame that shows nothing new keeps its clock, so that the same
            moments can be asked about.
    """
    scene = Scene(seed=seed, busy=0.2 + 0.15 * (seed % 3), start_ns=seed * 7919 % 86_400 * 10**9)
    watched, rng = gated_moments(scene, 1800), np.random.default_rng([seed, 5])
    window, kept = lm.new_window(), Kept([], [])
    gate = lm.new_token_gate(gate_cosine, SourceConfig(url="scene://").keep_seconds)
    for start in range(0, len(watched), CHUNK):
        part = watched[start : start + CHUNK]
        inputs = lm.embed_frames([paint(m.state, seed, rng) for m in part], [m.time_ns for m in part])
        for run in gate_frames(gate, inputs, [m.time_ns for m in part]):
            for i, keys, values in zip(run.frames, *lm.prefill_blocks(run.inputs, window, run.places), strict=True):
                block = spill(
                    Block(
                        block_id=len(kept.blocks) + 1,
                        start_ns=part[i].time_ns,
                        end_ns=part[i].until_ns,
                        keys=keys,
                        values=values,
                        signature=NO_SIGNATURE,
                        places=run.places,
                    )
                )
                window.append(block.block_id, block.keys, block.values, block.places)
                kept.moments.append(part[i])
                kept.blocks.append(block)
    return kept


def lay_out(lm: VideoLM, blocks: list[Block]) -> Context:
    """`sink | blocks`, of which all but the newest are recalled."""
    parts = [lm.new_window().sink, *((block.keys, block.values) for block in blocks)]
    return lm.lay_out(parts, [None, *(block.places for block in blocks)], recalled=max(0, len(blocks) - RECENT))


def answer(lm: VideoLM, context: Context, text: str) -> str:
    """Greedy decoding behind `context | question`; the context is left as it was."""
    detokenizer, tokens = lm.new_detokenizer(), context.tokens
    said = lm.generate(context, lm.prompt.question_ids(text), lambda logits: int(logits.argmax()))
    for token in itertools.islice(said, MOST_TOKENS):
        if token not in lm.stop_ids:
            detokenizer.add(token)
    detokenizer.finish()
    context.rewind(tokens)
    return detokenizer.text


def draw_context(count: int, rng: np.random.Generator) -> list[int]:
    """28 moments, in every other context a run and else from anywhere, and the 4 newest."""
    now = int(rng.integers(FRAMES + 8, count))
    old, past = now - RECENT + 1, FRAMES - RECENT
    if rng.random() < 0.5:
        begin = int(rng.integers(old - past + 1))
        chosen = list(range(begin, begin + past))
    else:
        chosen = sorted(rng.choice(old, past, replace=False).tolist())
    return [*chosen, *range(old, now + 1)]


def sparse(frames: list[int], question: Question, rng: np.random.Generator) -> list[int]:
    """Of the frames of a context only those that prove the answer, or any four where nothing can, and the newest."""
    proof = [i for i in question.proof if i < FRAMES - RECENT][:4]
    if not question.proof:
        proof = sorted(rng.choice(FRAMES - RECENT, 4, replace=False).tolist())
    return [frames[i] for i in proof] + frames[-RECENT:]


@functools.lru_cache(maxsize=1)
def model() -> VideoLM:
    """The embedded model, loaded once in each process and given one core."""
    return VideoLM.load(ModelConfig(name="embedded", threads=1))


def ask_about(seed: int, wanted: frozenset[tuple[str, bool]]) -> list[Score]:
    """A question of each wanted kind in each of a yard's contexts, answered with every frame and with few."""
    lm = model()
    kept, rng = watch(lm, seed), np.random.default_rng([seed, 8])
    scores = []
    for _ in range(CONTEXTS):
        frames = draw_context(len(kept.moments), rng)
        moments, everything = [kept.moments[i] for i in frames], lay_out(lm, [kept.blocks[i] for i in frames])
        for held in (False, True):
            asker = Asker(moments, rng, held_out=held)
            for kind in QUESTION_KINDS:
                question = QUESTION_KINDS[kind].draw(asker) if (kind, held) in wanted else None
                if question is not None:
                    few = lay_out(lm, [kept.blocks[i] for i in sparse(frames, question, rng)])
                    right = [agrees(question, answer(lm, seen, question.text)) for seen in (everything, few)]
                    scores.append(Score(kind, held, *right))
    return scores


def run(each: int, progress: Progress) -> list[Score]:
    """So many questions of each kind in phrasings of the training, and a third as many in held-out ones.

    Yard after yard, a few at a time on all cores; how many cores there are does not change the questions.
    """
    wanted = {
        (kind, held): each if not held else max(1, each // 3) for kind in QUESTION_KINDS for held in (False, True)
    }
    task = progress.add_task("asking", total=sum(wanted.values()))
    scores: list[Score] = []
    seeds = itertools.count(FIRST_SEED)
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        while any(wanted.values()):
            open_kinds = frozenset(key for key, count in wanted.items() if count)
            ask = functools.partial(ask_about, wanted=open_kinds)
            for score in itertools.chain.from_iterable(pool.map(ask, itertools.islice(seeds, YARDS))):
                if wanted[score.kind, score.held_out]:
                    wanted[score.kind, score.held_out] -= 1
                    scores.append(score)
                    progress.advance(task)
    return scores


def frames_per_second(dtype: str) -> float:
    """Pixels to keys and values, eight frames at a time, on all cores."""
    lm = VideoLM.load(ModelConfig(name="embedded", dtype=dtype))
    window, pictures = lm.new_window(), [Scene(seed=1).render(t) for t in range(CHUNK)]
    rounds = 12
    for i in range(rounds + 2):
        if i == 2:
            began = time.perf_counter()
        lm.prefill_blocks(lm.embed_frames(pictures, [t * 10**9 for t in range(CHUNK)]), window)
    return rounds * CHUNK / (time.perf_counter() - began)


def summary(scores: list[Score]) -> dict[str, object]:
    """The figures; `overall` and `kinds` are of the full context and the phrasings of the training."""

    def mean(chosen: list[bool]) -> float:
        return round(float(np.mean(chosen)), 3)

    by_kind: dict[str, list[Score]] = defaultdict(list)
    for score in scores:
        by_kind[score.kind].append(score)
    seen = [s for s in scores if not s.held_out]
    held = [s for s in scores if s.held_out]
    return {
        "overall": mean([s.full for s in seen]),
        "kinds": {kind: mean([s.full for s in of if not s.held_out]) for kind, of in by_kind.items()},
        "held_out": mean([s.full for s in held]),
        "held_out_kinds": {kind: mean([s.full for s in of if s.held_out]) for kind, of in by_kind.items()},
        "sparse_context": mean([s.sparse for s in seen]),
        "sparse_kinds": {kind: mean([s.sparse for s in of if not s.held_out]) for kind, of in by_kind.items()},
        "unknown": mean([s.full for s in held if s.kind == "unknown"]),
        "questions": len(scores),
    }


def main() -> None:
    """Prints a table, or with `--json` one object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=300, help="questions of each kind")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    console = Console(stderr=True)
    with Progress(console=console, transient=True) as progress:
        result = summary(run(options.each, progress))
    weights = EMBEDDED / "model.safetensors"
    with safe_open(weights, "pt") as tensors:
        result["parameters"] = sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    result["mib"] = round(weights.stat().st_size / 2**20, 2)
    result["fps"] = {dtype: round(frames_per_second(dtype), 1) for dtype in ("bfloat16", "float32")}
    if options.json:
        print(json.dumps(result))
        return
    table = Table("kind", "32 frames", "proof + newest 4", "held-out phrasing", box=None)
    kinds, sparse, held = (cast(dict[str, float], result[n]) for n in ("kinds", "sparse_kinds", "held_out_kinds"))
    for kind in QUESTION_KINDS:
        table.add_row(kind, f"{kinds[kind]:.3f}", f"{sparse[kind]:.3f}", f"{held[kind]:.3f}")
    table.add_row("all", *(f"{result[name]:.3f}" for name in ("overall", "sparse_context", "held_out")))
    Console().print(table)
    print({name: result[name] for name in ("unknown", "parameters", "mib", "fps", "questions")})


if __name__ == "__main__":
    sys.exit(main())
