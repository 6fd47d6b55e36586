"""How a question finds its blocks among weeks of them: the index and the exact score over its candidates, against the
exact score of every block.

Real frames (`frames.py`: the embedded model on rendered yards, busy hours) are the blocks, and real questions about
them ask. There are fewer frames than blocks: each day is some of them in their order, and a frame that stands for
several blocks is each time changed as a still scene changes from one frame to the next (measured; two such blocks
differ as two consecutive frames do). Days that are over lie in files, the last is open. Keys of candidates are read
from RAM, for both sides; what the store takes to give them is in `answer.py`.

Exact is the attention score of the retrieval heads over all keys of all blocks, less a blank question's, by matrix
products on every core, from 16 bits to 32 as it goes. `recall_vs_exact` is how many of its first eight the index hands
on as candidates, `first_8_vs_exact` how many the retriever then names first itself. It knows what of each token's
attention goes to other blocks only as far as their sub-vectors tell, so the order may differ, most where many blocks
are nearly the same, as they are here. Proofs are found as well by either (see `recall.py`).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from frames import Frames, frames
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor
from wheels import FOLDER

from longwatch.memory.block import BlockInfo, Geometry
from longwatch.memory.partition import PartitionVersion
from longwatch.retrieval.heads import RetrievalHeads
from longwatch.retrieval.index.day import IndexDay
from longwatch.retrieval.index.dayfile import pack_day, read_day
from longwatch.retrieval.retrievers.choice import make_retriever
from longwatch.retrieval.retrievers.retriever import Query, Retriever
from longwatch.retrieval.settings import RetrievalConfig
from longwatch.retrieval.signature import SignatureLayout
from longwatch.retrieval.time.span import Span

A_DAY, BUSIEST_DAY = 20_000, 86_400  # blocks
DAY_NS, HOUR_NS = 86_400_000_000_000, 3_600_000_000_000
FIRST = 8
_SIGNED_AT_ONCE, _SCORED_AT_ONCE = 2_000, 4_096
_OUT_OF_REACH = 60.0  # taken from every score, so that its exponential stays within 32 bits


class Memory(NamedTuple):
    """Blocks 1, 2, … of days of equal length.

    Attributes:
        keys: `[blocks, R, T, D]` float16.
        days: where each day's blocks end.
    """

    keys: Tensor
    per_day: int

    def info(self, i: int) -> BlockInfo:
        """Of block i, counted from 0."""
        day, number = divmod(i, self.per_day)
        start_ns = day * DAY_NS + number * (DAY_NS // self.per_day)
        return BlockInfo(i + 1, start_ns, start_ns, self.keys.shape[2])

    def read_keys(self, block_id: int) -> Tensor:
        """`[R, T, D]` float32."""
        return self.keys[block_id - 1].float()


def remember(seen: Frames, blocks: int, per_day: int, told: Callable[[int], None]) -> Memory:
    """So many blocks, a stretch of the frames for each day."""
    generator = torch.Generator().manual_seed(1)
    keys = torch.empty(blocks, *seen.keys.shape[1:], dtype=torch.float16)
    for start in range(0, blocks, per_day):
        day = keys[start : start + per_day]
        first = int(torch.randint(len(seen.keys), (1,), generator=generator))
        for at in range(0, len(day), _SIGNED_AT_ONCE):
            some = day[at : at + _SIGNED_AT_ONCE]
            frames = (first + at + torch.arange(len(some))) % len(seen.keys)
            change = seen.flicker[torch.randint(len(seen.flicker), (len(some),), generator=generator)]
            some.copy_(seen.keys[frames].float() + change.float() * 0.5**0.5)
        told(start + len(day))
    return Memory(keys, per_day)


class Bench:
    """The index of a memory, as the daemon has it: past days in files, the last one open."""

    def __init__(self, memory: Memory, seen: Frames, folder: Path) -> None:
        heads = memory.keys.shape[1]
        self.memory, self.folder = memory, folder
        self.heads = RetrievalHeads(tuple((head, 0) for head in range(heads)), group=1)  # each in a layer of its own
        self.layout = SignatureLayout(self.heads, text_tokens=seen.text_tokens)
        self.geometry = Geometry(layers=heads, kv_heads=1, head_dim=memory.keys.shape[-1])
        self.parts = self.layout.head_parts(self.geometry)
        self.shapes = [(part.vectors, part.dim) for part in self.parts]
        self.files: list[Path] = []

    def day(self, first: int, last: int) -> IndexDay:
        """The blocks from one to before another."""
        day = IndexDay(self.shapes)
        for start in range(first, last, _SIGNED_AT_ONCE):
            keys = self.memory.keys[start : min(start + _SIGNED_AT_ONCE, last)]
            for i, signature in enumerate(self.layout.signatures(keys[:, :, None]), start):
                day.add(self.memory.info(i), [part.cut(signature) for part in self.parts])
        return day

    def file_days(self, told: Callable[[int], None]) -> None:
        """Makes the files of all days but the last."""
        blocks, per_day = len(self.memory.keys), self.memory.per_day
        for first in range(0, blocks - per_day, per_day):
            self.files.append(self.folder / str(first // per_day))
            content = pack_day(self.day(first, first + per_day).sealed(), PartitionVersion(1, 1, 1, 1))
            with self.files[-1].open("wb") as file:
                file.writelines(content)
            told(first + per_day)

    def start(self) -> tuple[Retriever, float]:
        """A retriever, and the seconds that the past days took to be there."""
        retriever = self.retriever()
        began = time.perf_counter()
        for file in self.files:
            retriever.index.take(read_day(file, PartitionVersion(1, 1, 1, 1), self.shapes))
        seconds = time.perf_counter() - began
        blocks = len(self.memory.keys)
        retriever.index.take(self.day(blocks - self.memory.per_day, blocks))
        return retriever, seconds

    def retriever(self) -> Retriever:
        """One that has seen nothing."""
        return make_retriever(RetrievalConfig(), self.layout, self.geometry, self.memory.read_keys)


Question = tuple[Tensor, Tensor]  # the heads' queries `[R, Tq, D]` of a question, and of a blank one


def query(question: Question) -> Query:
    """As if each head were alone in its layer."""
    asked, blank = ({head: queries[None] for head, queries in enumerate(some)} for some in question)
    return Query("", asked, blank)


def exact_lift(question: Question, keys: Tensor) -> Tensor:
    """As `HeadsRetriever` scores, of all blocks `[n, R, T, D]` together: `[n]`. The keys are read once."""
    own = question[0].shape[1]
    scaled, lift = torch.cat(question, 1) * keys.shape[-1] ** -0.5, torch.zeros(len(keys))
    for head, queries in enumerate(scaled):
        per_block = [
            (queries @ some[:, head].flatten(0, 1).float().T)
            .sub_(_OUT_OF_REACH)
            .exp_()
            .unflatten(1, (len(some), -1))
            .sum(-1)
            for some in keys.split(_SCORED_AT_ONCE)
        ]
        mass = torch.cat(per_block, 1)
        mass /= mass.sum(1, keepdim=True)
        mass.sqrt_()
        lift += mass[:own].mean(0) - mass[own:].mean(0)
    return lift / len(scaled)


class Comparison(NamedTuple):
    """One question: milliseconds without the index, and which shares of the exact first eight are found."""

    brute_ms: float
    candidates: float
    first: float


def compare(bench: Bench, retriever: Retriever, questions: list[Question]) -> Iterator[Comparison]:
    """Each question with the index and without."""
    for question in questions:
        began = time.perf_counter()
        best = set((exact_lift(question, bench.memory.keys).topk(FIRST).indices + 1).tolist())
        brute_ms = (time.perf_counter() - began) * 1e3
        hits = [hit.info.block_id for hit in retriever.rank(query(question), None, ())]
        yield Comparison(brute_ms, len(best & {*hits}) / FIRST, len(best & {*hits[:FIRST]}) / FIRST)


def timed(retriever: Retriever, questions: list[Question], span: Span | None = None) -> list[float]:
    """Milliseconds of each question."""
    times = []
    for asked in questions:
        began = time.perf_counter()
        retriever.rank(query(asked), span, ())
        times.append((time.perf_counter() - began) * 1e3)
    return times


def measure(options: argparse.Namespace, progress: Progress, folder: Path) -> dict[str, Any]:
    """All figures."""
    task = progress.add_task("encoding frames", total=1.0)
    seen = frames(FOLDER, lambda share: progress.update(task, completed=share))
    progress.update(task, completed=1.0)
    per_day = min(A_DAY, options.blocks // 2)
    blocks = options.blocks // per_day * per_day
    task = progress.add_task("remembering blocks", total=blocks)
    memory = remember(seen, blocks, per_day, lambda n: progress.update(task, completed=n))
    bench = Bench(memory, seen, folder)
    task = progress.add_task("making day files", total=blocks - per_day)
    bench.file_days(lambda n: progress.update(task, completed=n))
    retriever, startup = bench.start()
    order = np.random.default_rng(3).permutation(len(seen.questions))
    questions = [seen.questions[i] for i in order]
    first = timed(retriever, questions[:1])[0]
    search = timed(retriever, questions)
    middle = (blocks // per_day // 2) * DAY_NS
    of_a_day = timed(retriever, questions[:50], Span(middle, middle + DAY_NS - 1))
    of_an_hour = timed(retriever, questions[:50], Span(middle + 9 * HOUR_NS, middle + 10 * HOUR_NS))
    task = progress.add_task("asking without the index", total=options.questions)
    asked = []
    for one in compare(bench, retriever, questions[: options.questions]):
        asked.append(one)
        progress.advance(task)
    brute = float(np.median([one.brute_ms for one in asked]))
    return {
        "blocks": blocks,
        "days": blocks // per_day,
        "frames": len(seen.keys),
        "questions": [len(questions), len(asked)],
        "bytes_per_block": round(sum(file.stat().st_size for file in bench.files) / (blocks - per_day)),
        "search_ms": _spread(search),
        "brute_ms": round(brute),
        "speedup_vs_brute": round(brute / float(np.median(search)), 1),
        "recall_vs_exact": round(float(np.mean([one.candidates for one in asked])), 4),
        "first_8_vs_exact": round(float(np.mean([one.first for one in asked])), 4),
        "startup_seconds": round(startup, 2),
        "first_search_ms": round(first),
        "one_day_ms": _spread(of_a_day),
        "one_hour_ms": _spread(of_an_hour),
        "busiest_open_day_ms": busiest_open_day(bench, questions[:50]) if blocks >= BUSIEST_DAY else None,
    }


def busiest_open_day(bench: Bench, questions: list[Question]) -> dict[str, float]:
    """A day of a block each second, at its end, while it is open."""
    retriever = bench.retriever()
    retriever.index.take(bench.day(0, BUSIEST_DAY))
    return _spread(timed(retriever, questions))


def _spread(times: list[float]) -> dict[str, float]:
    return {"median": round(float(np.median(times)), 1), "p99": round(float(np.quantile(times, 0.99)), 1)}


def main() -> None:
    """Prints the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=1_000_000)
    parser.add_argument("--questions", type=int, default=32, help="that are asked without the index too")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder, Progress(console=console, transient=True) as progress:
        result = measure(options, progress, Path(folder))
    if options.json:
        print(json.dumps(result))
        return
    table = Table("", "", box=None, show_header=False)
    for name, value in result.items():
        table.add_row(name, str(value))
    Console(width=None if sys.stdout.isatty() else 140).print(table)


if __name__ == "__main__":
    main()
