"""What each codec takes, and what it costs: bits a value as stored, loss on two models, and speed.

Every block goes through the real memory (`Tiers` on LMDB) and comes back as the daemon would see it. SmolLM2-135M reads
a log in words and is asked for planted facts with the right block and seven others recalled; the embedded model watches
yards and answers behind 28 recalled blocks and the 4 newest. Baseline: every bit kept. Peer: transformers' own
quantised cache (`QuantoQuantizedLayer`, groups of 64 as it comes), each block quantised by itself.
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

import embedded
import numpy as np
import torch
from remembered import FIRST_SEED, QUANTO, Quanto, Taken, Yard, on_yard, remembering
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from text_log import TextLog, weights
from wheels import FOLDER

from longwatch.memory.block import Block
from longwatch.memory.codec.registry import CODECS
from longwatch.memory.scales import Scales

BASELINE = "raw16"
NAMES = (*(name for name in CODECS if name != "raw32"), *QUANTO)
TIMED_ROUNDS = 5


def on_log(log: TextLog, name: str) -> tuple[float, float]:
    """Bits a value, and the mean negative log-likelihood of the answers."""
    with remembering(name, torch.float16) as (memory, taken):
        back = [memory.spill("it", block) for block in log.blocks]
        return taken(2 * log.blocks[0].keys.numel()).bits, log.nll(back)


def speeds(name: str, blocks: list[Block]) -> tuple[float, float]:
    """Gigabytes (10^9) of 16-bit keys and values packed and unpacked in a second, on one thread."""
    size = sum(2 * 2 * block.keys.numel() for block in blocks)
    if name in QUANTO:
        began = time.perf_counter()
        for block in blocks:
            Quanto(QUANTO[name]).spill("it", block)
        both = size / (time.perf_counter() - began) / 1e9
        return both, both
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
    return size / best[0] / 1e9, size / best[1] / 1e9


def run(yards: int, folder: Path, progress: Progress) -> list[dict[str, object]]:
    """A row a codec."""
    task = progress.add_task("yards", total=yards * len(NAMES))
    results: dict[str, list[Yard]] = {}
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        for name in NAMES:
            results[name] = []
            for yard in pool.map(functools.partial(on_yard, name=name), range(FIRST_SEED, FIRST_SEED + yards)):
                results[name].append(yard)
                progress.advance(task)
    task = progress.add_task("log", total=1 + len(NAMES))
    log = TextLog(weights(folder))
    progress.advance(task)
    texts = {}
    for name in NAMES:
        texts[name] = on_log(log, name)
        progress.advance(task)
    kept = embedded.watch(embedded.model(), FIRST_SEED)
    blocks = [
        Block(block_id=i + 1, start_ns=0, end_ns=0, keys=keys, values=values, signature=torch.zeros(1, 4))
        for i, (keys, values) in enumerate(zip(kept.keys[:64], kept.values[:64], strict=True))
    ]
    return [row(name, results, texts, *speeds(name, blocks)) for name in NAMES]


def row(
    name: str, yards: dict[str, list[Yard]], texts: dict[str, tuple[float, float]], packed: float, unpacked: float
) -> dict[str, object]:
    """One codec's figures beside the baseline's, question by question."""
    right, base = (np.concatenate([yard.right for yard in yards[n]]).astype(float) for n in (name, BASELINE))
    delta = right - base
    took = Taken(sum(y.taken.bytes for y in yards[name]), sum(y.taken.values for y in yards[name]))
    return {
        "codec": name,
        "bits_per_value": round(took.bits, 3),
        "text_bits_per_value": round(texts[name][0], 3),
        "nll_delta": round(texts[name][1] - texts[BASELINE][1], 4),
        "accuracy": round(float(right.mean()), 4),
        "accuracy_delta": round(float(delta.mean()), 4),
        "accuracy_error": round(float(delta.std() / len(delta) ** 0.5), 4),
        "pack_gbps": round(packed, 3),
        "unpack_gbps": round(unpacked, 3),
        "questions": len(right),
        "nll": round(texts[name][1], 4),
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
        table.add_row(*(str(r[column]) for column in columns))
    out = Console(width=None if sys.stdout.isatty() else 140)
    out.print(
        f"{rows[0]['questions']} questions, {rows[0]['accuracy']} right with {BASELINE}; its NLL {rows[0]['nll']}"
    )
    out.print(table)


if __name__ == "__main__":
    sys.exit(main())
