"""Whether a language model that nobody here trained finds lines of a long log again, retrievers side by side.

SmolLM2-135M-Instruct reads a log in words (`daemon/calibration/written_log.py`), a line a block, through the daemon's
window, memory and index. It is asked about things that were left again and again, in other colours, at other times.
Its heads come from the daemon's calibration: on other, shorter logs, other things, and other kinds of question than
those that the figures count. `exact` is the heads' score over all blocks' keys, with no coarse step before it.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from smollm import load

from longwatch.daemon.calibration.needles import LINE_NS, TextNeedles, embed_lines
from longwatch.daemon.calibration.search import calibrate
from longwatch.daemon.calibration.written_log import KINDS, THINGS, Fact, write_log
from longwatch.daemon.log import set_up
from longwatch.daemon.model.prompt import BLANK
from longwatch.daemon.model.queries import compute_queries
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.daemon.stream.maker import StreamMaker, make_tiers
from longwatch.memory.block import Block
from longwatch.memory.settings import MemoryConfig
from longwatch.memory.store import Store
from longwatch.retrieval.heads import RetrievalHeads, score_attention
from longwatch.retrieval.retrievers.retriever import Query, Retriever
from longwatch.retrieval.settings import RetrievalConfig

RETRIEVERS = ("recent", "uniform", "rekv-shared", "heads", "exact", "oracle")
ANSWERED = ("recent", "rekv-shared", "heads", "oracle")
DEPTHS = (1, 4, 8, 16)
AGES = (100, 1000, 10_000)
RECALLED, ANSWER_TOKENS = 8, 16
STREAM, SEED = "log", 93_001
Told = Callable[[str, float], None]


class Trial(NamedTuple):
    """One question under one retriever."""

    retriever: str
    kind: str
    age: int  # blocks that came after the one that answers it
    rank: int
    right: bool | None  # None where no answer was decoded
    ms: float


class LogMemory:
    """A log as the daemon would have remembered it."""

    def __init__(self, model: VideoLM, heads: RetrievalHeads, folder: Path) -> None:
        self.model, self.heads = model, heads
        memory = MemoryConfig(folder=str(folder))
        self.store = Store(memory)
        self._tiers = make_tiers(model, self.store, memory)
        self.window = model.new_window()
        maker = StreamMaker(model, self._tiers, RetrievalConfig(), heads=heads)
        self.layout, self.read_keys = maker.layout, maker.keys_reader(STREAM)
        self.retrievers: dict[str, Retriever] = {
            name: maker.make_retriever(STREAM, RetrievalConfig(retriever=name, recall_blocks=max(DEPTHS)))
            for name in ("recent", "rekv-shared", "heads")
        }

    def read(self, lines: Sequence[str], told: Callable[[int], None]) -> None:
        """Remembers a line a block; ids are line numbers from 1 on."""
        for number, inputs in enumerate(embed_lines(self.model, lines), 1):
            keys, values = self.model.prefill_blocks(inputs, self.window)
            block = Block(
                block_id=number,
                start_ns=(number - 1) * LINE_NS,
                end_ns=(number - 1) * LINE_NS,
                keys=keys[0],
                values=values[0],
                signature=self.layout.signatures(keys)[0],
            )
            block = self._tiers.spill(STREAM, block)
            self.window.append(number, block.keys, block.values)
            for retriever in self.retrievers.values():
                retriever.index.add(block.info, retriever.index.cut(block.signature))
            told(number)
        self.store.flush()

    @property
    def outside(self) -> int:
        """The newest block that is not in the window."""
        return self.window.blocks[0].block_id - 1

    def answer(self, block_ids: Sequence[int], ids: list[int]) -> str:
        """Greedy, behind `sink | recalled | window`."""
        recalled = [(block.keys, block.values) for block in self._tiers.fetch(STREAM, block_ids)]
        window = [(part.keys, part.values) for part in self.window.parts()]
        context = self.model.lay_out([self.window.sink, *recalled, *window], recalled=len(recalled))
        detokenizer = self.model.new_detokenizer()
        tokens = self.model.generate(context, ids, lambda logits: int(logits.argmax()))
        for _, token in zip(range(ANSWER_TOKENS), tokens, strict=False):
            if token in self.model.stop_ids:
                break
            detokenizer.add(token)
        return detokenizer.text


class Ranking:
    """Every retriever's order of the blocks outside the window."""

    def __init__(self, memory: LogMemory) -> None:
        self._memory = memory
        self._in_window = {block.block_id for block in memory.window.blocks}
        self._keys = [memory.read_keys(number) for number in range(1, memory.outside + 1)]

    def order(self, name: str, fact: Fact, ids: list[int]) -> list[int]:
        """Block ids, best first."""
        memory = self._memory
        if name == "oracle":
            return [fact.line + 1]
        if name == "uniform":
            spread = [np.linspace(1, memory.outside, k).round().astype(int).tolist() for k in DEPTHS[1:]]
            return list(dict.fromkeys(i for some in spread for i in some))
        last_layer = memory.heads.last_layer if name == "exact" else memory.retrievers[name].last_layer
        query = Query(fact.question)
        if last_layer != -1:
            both = (ids, memory.model.prompt.question_ids(BLANK))
            query = Query(fact.question, *compute_queries(memory.model, memory.window, both, last_layer))
        if name == "exact":
            asked, blank = (memory.heads.queries(of) for of in (query.by_layer, query.blank))
            lift = score_attention(asked, self._keys) - score_attention(blank, self._keys)
            return (lift.argsort(descending=True) + 1).tolist()
        return [hit.info.block_id for hit in memory.retrievers[name].rank(query, None, self._in_window)]


def ask(memory: LogMemory, ranking: Ranking, name: str, fact: Fact, *, decode: bool) -> Trial:
    """Ranks, and where it is to be decoded, recalls and answers."""
    ids = memory.model.prompt.question_ids(fact.question)
    began = time.perf_counter()
    order = ranking.order(name, fact, ids)
    ms = (time.perf_counter() - began) * 1e3
    place = {block_id: i for i, block_id in enumerate(order)}
    right = None
    if decode and name in ANSWERED and fact.kind != "did":  # to which "yes" is always right
        right = fact.answer.lower() in memory.answer(order[:RECALLED], ids).lower()
    return Trial(name, fact.kind, memory.outside - fact.line, place.get(fact.line + 1, 10**9), right, ms)


def row(name: str, blocks: int, asked: Sequence[Trial], unseen: Sequence[str]) -> dict[str, Any]:
    """One retriever's figures, of kinds of question that its heads were not chosen on; `kinds` has the others too."""
    counted = [a for a in asked if a.kind in unseen]
    answered = [a.right for a in counted if a.right is not None]
    ages, kinds = defaultdict(list), defaultdict(list)
    for a in asked:
        kinds[a.kind].append(a.rank < 8)
    for a in counted:
        ages[f"{next(age for age in AGES if a.age <= age)} blocks"].append(a.rank < 8)
    return {
        "retriever": name,
        "blocks": blocks,
        **{f"recall@{k}": _mean([a.rank < k for a in counted]) for k in DEPTHS},
        "by_age": {age: {"recall@8": _mean(of), "questions": len(of)} for age, of in sorted(ages.items())},
        "kinds": {kind: _mean(of) for kind, of in kinds.items()},
        "accuracy": _mean(answered),
        "questions": len(counted),
        "ms": round(float(np.median([a.ms for a in counted])), 1),
    }


def _mean(values: Sequence[bool]) -> float | None:
    return round(float(np.mean(values)), 3) if values else None


def run(blocks: int, each: int, answers: int, told: Told) -> list[dict[str, Any]]:
    """A row a retriever.

    Args:
        each: questions of a kind, at most.
        answers: of these, how many are answered too.
    """
    model = load()
    found = calibrate(model, TextNeedles(), lambda share: told("calibrating", share))
    heads = found.retrieval_heads
    assert heads is not None, f"{found}: not good enough"
    rng = np.random.default_rng(SEED)
    lines, facts = write_log(blocks, rng)
    with tempfile.TemporaryDirectory() as folder:
        memory = LogMemory(model, heads, Path(folder))
        try:
            memory.read(lines, lambda number: told("reading", number / blocks))
            questions = draw([fact for fact in facts if fact.line < memory.outside], each, rng)
            ranking, asked = Ranking(memory), []
            for i, (fact, number) in enumerate(questions):
                told("asking", i / len(questions))
                asked += [ask(memory, ranking, name, fact, decode=number < answers) for name in RETRIEVERS]
        finally:
            memory.store.close()
    about = {"heads": heads.heads, "calibration": found.recall}
    rows = [row(name, blocks, [a for a in asked if a.retriever == name], found.checked_on) for name in RETRIEVERS]
    return [r | (about if r["retriever"] in ("heads", "exact") else {}) for r in rows]


def draw(facts: Sequence[Fact], each: int, rng: np.random.Generator) -> list[tuple[Fact, int]]:
    """Facts of each kind about things on which no head was chosen, with their number within the kind."""
    chosen_on = list(THINGS)[1::2]
    fair = [fact for fact in facts if fact.thing not in chosen_on]
    chosen = []
    for kind in KINDS:
        alike = [fact for fact in fair if fact.kind == kind]
        chosen += [(alike[j], i) for i, j in enumerate(rng.permutation(len(alike))[:each])]
    return chosen


def show(blocks: int, *, as_json: bool) -> None:
    """Prints a table, or one JSON object."""
    set_up(level="warning", as_json=False)
    torch.set_num_threads(2)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        tasks = {name: progress.add_task(name, total=1.0) for name in ("calibrating", "reading", "asking")}
        rows = run(blocks, 40, 4, lambda name, share: progress.update(tasks[name], completed=share))
    if as_json:
        print(json.dumps({"rows": rows}))
        return
    out = Console(width=None if sys.stdout.isatty() else 140)
    columns = ("retriever", *(f"recall@{k}" for k in DEPTHS), "accuracy", "ms")
    table = Table(*columns, box=None)
    for r in rows:
        table.add_row(*(str(r[column]) for column in columns))
    out.print(f"{blocks} blocks, {rows[0]['questions']} questions of kinds on which no head was chosen")
    out.print(table)
    kinds = Table("recall@8 by kind", *RETRIEVERS, box=None)
    for kind in rows[0]["kinds"]:
        kinds.add_row(kind, *(str(r["kinds"][kind]) for r in rows))
    out.print(kinds)
    ages = Table("recall@8 by age", *RETRIEVERS, box=None)
    for age, of in rows[0]["by_age"].items():
        ages.add_row(f"within {age} ({of['questions']})", *(str(r["by_age"][age]["recall@8"]) for r in rows))
    out.print(ages)
