"""What each codec takes, and what it costs: bits a value as stored, loss on two models, and speed.

Every block goes through the real memory (`Tiers` on LMDB) and comes back as the daemon would see it. SmolLM2-135M reads
logs in words and is asked for planted facts with the right block and seven others recalled; the embedded model watches
yards and answers behind 28 recalled blocks and the 4 newest. Baseline: every bit kept. Peer: transformers' own
quantised cache (`QuantoQuantizedLayer`, groups of 64 as it comes), each block quantised by itself.

The last rows are of blocks packed with the default codec: recalled after the memory has faded them, or with fewer
tokens from the start. Their bits are counted on the values of whole blocks.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import embedded
import numpy as np
import torch
from remembered import FADED, FIRST_SEED, GATED, QUANTO, Quanto, Taken, Yard, on_yard, remembering
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from text_log import TextLog
from wheels import FOLDER

from longwatch.memory.block import Block
from longwatch.memory.codec.registry import CODECS
from longwatch.memory.scales import Scales

BASELINE = "raw16"
NAMES = (*(name for name in CODECS if name != "raw32"), *QUANTO)
THINNER = (*FADED, *GATED)
LOGS = 3
TIMED_ROUNDS = 5


class Text(NamedTuple):
    """What a language model's logs say of a codec."""

    bits: float
    losses: np.ndarray  # of each token of each answer, in nats


def on_logs(logs: list[TextLog], name: str) -> Text:
    """The same questions, whatever the codec."""
    bits, losses = [], []
    for log in logs:
        with remembering(name, torch.float16, 0) as (memory, recall):
            back, took = recall([memory.spill("it", block) for block in log.blocks])
        bits.append(took.bits)
        losses.append(log.losses(back))
    return Text(float(np.mean(bits)), np.concatenate(losses))


def speeds(name: str, blocks: list[Block]) -> dict[str, object]:
    """Gigabytes (10^9) of 16-bit keys and values packed and unpacked in a second, on one thread."""
    size = sum(2 * 2 * block.keys.numel() for block in blocks)
    if name in QUANTO:
        began = time.perf_counter()
        for block in blocks:
            Quanto(QUANTO[name]).spill("it", block)
        both = size / (time.perf_counter() - began) / 1e9
        return {"pack_gbps": round(both, 3), "unpack_gbps": round(both, 3)}
    codec, scales, tokens = CODECS[name], Scales.of(blocks), blocks[0].info.tokens
    geometry, best = embedded.model().geometry, [float("inf")] * 2
    for _ in range(TIMED_ROUNDS):
        began = time.perf_counter()
        packed = [codec.pack(block.keys, block.values, scales) for block in blocks]
        between = time.perf_counter()
        for data in packed:
            codec.unpack(memoryview(data), geometry, tokens, blocks[0].keys.dtype, scales)
        ended = time.perf_counter()
        best = [min(best[0], between - began), min(best[1], ended - between)]
    return {name: round(size / took / 1e9, 3) for name, took in zip(("pack_gbps", "unpack_gbps"), best, strict=True)}


def run(yards: int, folder: Path, progress: Progress) -> list[dict[str, object]]:
    """A row a codec."""
    task = progress.add_task("yards", total=yards * (len(NAMES) + len(THINNER)))
    results: dict[str, list[Yard]] = {}
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        for name in (*NAMES, *THINNER):
            results[name] = []
            for yard in pool.map(functools.partial(on_yard, name=name), range(FIRST_SEED, FIRST_SEED + yards)):
                results[name].append(yard)
                progress.advance(task)
    task = progress.add_task("logs", total=LOGS + len(NAMES))
    logs = []
    for seed in range(1, 1 + LOGS):
        logs.append(TextLog(folder, seed=seed))
        progress.advance(task)
    texts = {}
    for name in NAMES:
        texts[name] = on_logs(logs, name)
        progress.advance(task)
    blocks = embedded.watch(embedded.model(), FIRST_SEED).blocks[:64]
    rows = [row(name, results) | text(texts[name], texts[BASELINE]) | speeds(name, blocks) for name in NAMES]
    return rows + [row(name, results) for name in THINNER]


def text(found: Text, base: Text) -> dict[str, object]:
    """A codec's figures on the logs beside the baseline's, token by token."""
    delta = found.losses - base.losses
    return {
        "text_bits_per_value": round(found.bits, 3),
        "nll": round(float(found.losses.mean()), 4),
        "nll_delta": round(float(delta.mean()), 4),
        "nll_error": round(float(delta.std() / len(delta) ** 0.5), 4),
    }


def row(name: str, yards: dict[str, list[Yard]]) -> dict[str, object]:
    """A codec's figures on the yards beside the baseline's, question by question."""
    right, base = (np.concatenate([yard.right for yard in yards[n]]).astype(float) for n in (name, BASELINE))
    delta = right - base
    took = Taken(sum(y.taken.bytes for y in yards[name]), sum(y.taken.values for y in yards[name]))
    return {
        "codec": name,
        "bits_per_value": round(took.bits, 3),
        "accuracy": round(float(right.mean()), 4),
        "accuracy_delta": round(float(delta.mean()), 4),
        "accuracy_error": round(float(delta.std() / len(delta) ** 0.5), 4),
        "questions": len(right),
    }


def main() -> None:
    """Prints a table, or with `--json` one object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--yards", type=int, default=12, help="half hours that the embedded model watches")
    parser.add_argument(
        "--weights",
        type=Path,
        default=FOLDER,
        help="where SmolLM2's weights are, or come to lie",
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(stderr=True)
    with Progress(console=console, transient=True) as progress:
        rows = run(options.yards, options.weights, progress)
    if options.json:
        print(json.dumps({"rows": rows}))
        return
    columns = [name for name in rows[0] if name not in ("accuracy", "questions", "nll")]
    table = Table(*columns, box=None)
    for r in rows:
        table.add_row(*(str(r.get(column, "")) for column in columns))
    out = Console(width=None if sys.stdout.isatty() else 140)
    out.print(
        f"{rows[0]['questions']} questions, {rows[0]['accuracy']} right with {BASELINE}; its NLL {rows[0]['nll']}"
    )
    out.print(table)


if __name__ == "__main__":
    sys.exit(main())
