"""Whether the memory finds what a question is about, hours later: retrievers side by side on one memory.

A rendered yard is watched for hours of its own time, at one frame a second, gated, by the real stream and store. Then
every question, about events of every age, is answered once with each retriever: `recent` and `uniform` do not look at
the question, `rekv` ranks by mean keys in every layer (arXiv 2503.00540), `rekv-shared` by the same as one ranking,
`heads` by the attention mass of the retrieval heads, `hybrid` by both of these together, and `oracle` is handed the
blocks that prove the answer. The recent window stands beside them, but for questions that name a time outside it.
`daemon` is `heads` as a user gets it: over a time that is named it also recalls blocks evenly. What `rekv` recalls
differs by layer: its blocks are ranked by in how many layers they were recalled, and its tokens are those of all of
them, of which a layer holds as many as the others' contexts do.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

import log_recall
import numpy as np
import torch
from harness import Rig, rig
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from longwatch.daemon.answer.recall import Recall
from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.model.settings import ModelConfig
from longwatch.memory.block import BlockInfo
from longwatch.retrieval.index.index import SignatureIndex
from longwatch.retrieval.retrievers.rekv import RekvRetriever
from longwatch.retrieval.retrievers.retriever import Hit, Query, Retriever, Setup, merge_layers
from longwatch.retrieval.settings import RetrievalConfig
from longwatch.retrieval.steps import finished
from longwatch.retrieval.time.reference import understand
from longwatch.retrieval.time.span import Span
from longwatch.yard.asker import Asker
from longwatch.yard.kinds import NOW_KINDS, QUESTION_KINDS, agrees, draw_each
from longwatch.yard.moment import Moment, scene_moments
from longwatch.yard.question import Question
from longwatch.yard.scene import Scene
from longwatch.yard.state import SECOND_NS

RETRIEVERS = ("recent", "uniform", "rekv", "rekv-shared", "heads", "hybrid", "daemon", "oracle")
MADE = ("recent", "uniform", "rekv-shared", "heads", "hybrid")
DEPTHS = (1, 4, 8, 16)
AGES = {"minute": 60.0, "hour": 3600.0, "6 hours": 6 * 3600.0, "day": 24 * 3600.0}
NEEDS_ALL_PROOF = ("order", "came", "happened")


class Trial(NamedTuple):
    """One question under one retriever."""

    retriever: str
    kind: str
    age: str
    rank: int | None  # how many blocks had to be taken until the proof was among them; None where nothing proves it
    right: bool
    tokens: int
    ms: float


class FixedRetriever(Retriever):
    """Hands out blocks that were chosen already."""

    def __init__(self, index: SignatureIndex, infos: Sequence[BlockInfo]) -> None:
        self.index, self._infos = index, infos

    def rank(self, query: Query, span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """The blocks, in the order given."""
        return [Hit(info, 1.0) for info in self._infos if info.block_id not in exclude]


class NotingRetriever(RekvRetriever):
    """ReKV's retriever, which notes what each layer recalled last."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(SignatureIndex(self.parts(setup)), setup)
        self.recalled: dict[int, list[Hit]] = {}

    def rank_layer(self, layer: int, queries: torch.Tensor, span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """See `RekvRetriever.rank_layer`."""
        hits = super().rank_layer(layer, queries, span, exclude)[: self._config.recall_blocks]
        self.recalled[layer] = hits
        return hits


class Bench:
    """A watched yard with every retriever over the same blocks."""

    def __init__(self, bench: Rig) -> None:
        self.rig = bench
        self.own = bench.stream.retriever
        self.blocks = self.own.index.infos()
        self._starts = np.array([info.start_ns for info in self.blocks])
        self.in_window = {block.block_id for block in bench.stream.window.blocks}
        self.layers = NotingRetriever(
            Setup(
                bench.retrieval, bench.maker.layout, bench.model.geometry, bench.maker.keys_reader("yard"), embed=None
            )
        )
        self.made = {name: self._make(name) for name in MADE}
        bench.tiers.store.flush()
        for info, signature in bench.tiers.signatures("yard"):
            for retriever in (self.layers, *self.made.values()):
                retriever.index.add(info, retriever.index.cut(signature))

    def _make(self, name: str) -> Retriever:
        """One that ranks as many blocks as the deepest figure needs; `uniform` takes as many as are recalled."""
        depth = self.rig.retrieval.recall_blocks if name == "uniform" else max(DEPTHS)
        config = RetrievalConfig(retriever=name, recall_blocks=depth)  # type: ignore[arg-type]
        return self.rig.maker.make_retriever("yard", config)

    def covering(self, moment: Moment) -> BlockInfo | None:
        """The block that holds a moment."""
        at = int(np.searchsorted(self._starts, moment.time_ns, side="right")) - 1
        return self.blocks[at] if at >= 0 else None

    def order(self, name: str, question: Question, proof: list[BlockInfo]) -> list[BlockInfo]:
        """The blocks outside the window as a retriever would take them, best first."""
        stream = self.rig.stream
        if name == "oracle":
            return proof
        span = understand(question.text, stream.now_ns).span
        retriever: Retriever = self.own if name == "daemon" else self.made[name]
        stream.retriever = retriever
        try:
            recall = Recall(stream, self.rig.model, self.rig.tiers)
            return [hit.info for hit in finished(recall.rank(question.text, span))]
        finally:
            stream.retriever = self.own

    def ask(self, name: str, question: Question, moments: list[Moment], age: str) -> Trial:
        """Ranks, recalls and answers."""
        covering = [self.covering(moments[i]) for i in question.proof]
        proof = list(dict.fromkeys(info for info in covering if info is not None))
        order = [] if name == "rekv" else self.order(name, question, proof)
        self.rig.stream.retriever = self.layers if name == "rekv" else FixedRetriever(self.own.index, order)
        try:
            span_blocks = RetrievalConfig().span_blocks if name == "daemon" else 0
            end, _ = self.rig.ask(question.text, span_blocks=span_blocks)
        finally:
            self.rig.stream.retriever = self.own
        if name == "rekv":
            order = [hit.info for hit in merge_layers(self.layers.recalled.values())]
        return Trial(
            name,
            question.kind,
            age,
            _rank(order, proof, self.in_window, question.kind in NEEDS_ALL_PROOF) if proof else None,
            agrees(question, end.text),
            sum(info.tokens for info in self.own.index.by_id(end.recalled)),
            end.total_ms,
        )


def _rank(order: list[BlockInfo], proof: list[BlockInfo], in_window: set[int], needs_all: bool) -> int:
    """How many blocks had to be taken until any, or all, of the proof was among them."""
    place = {info.block_id: i + 1 for i, info in enumerate(order)}
    ranks = [0 if info.block_id in in_window else place.get(info.block_id, 10**9) for info in proof]
    return max(ranks) if needs_all else min(ranks)


def can_be_shown(question: Question) -> bool:
    """Whether some moment answers it, or it is of a kind where that nothing does is the answer."""
    return question.kind in NOW_KINDS or bool(question.proof) or question.kind in ("appear", "unknown")


def age_of(question: Question, moments: list[Moment]) -> str:
    """How long ago the newest proof was, as a class."""
    if not question.proof:
        return "none"
    seconds = (moments[-1].time_ns - moments[max(question.proof)].time_ns) / 1e9
    return next(name for name, longest in AGES.items() if seconds <= longest)


def row(name: str, hours: float, asked: list[Trial]) -> dict[str, object]:
    """One retriever's figures."""
    past = [a for a in asked if a.kind not in NOW_KINDS]
    provable = [a for a in past if a.rank is not None]

    def mean(values: Sequence[float | bool]) -> float | None:
        return round(float(np.mean(values)), 3) if len(values) else None

    def grouped(key: str, of: list[Trial]) -> dict[str, list[Trial]]:
        groups: dict[str, list[Trial]] = defaultdict(list)
        for a in of:
            groups[getattr(a, key)].append(a)
        return groups

    return {
        "retriever": name,
        "hours": hours,
        **{f"recall@{k}": mean([a.rank <= k for a in provable if a.rank is not None]) for k in DEPTHS},
        "accuracy": mean([a.right for a in past]),
        "accuracy_now": mean([a.right for a in asked if a.kind in NOW_KINDS]),
        "kinds": {kind: mean([a.right for a in of]) for kind, of in grouped("kind", asked).items()},
        "recall@8_kinds": {
            kind: mean([a.rank <= 8 for a in of if a.rank is not None])
            for kind, of in grouped("kind", provable).items()
        },
        "by_age": {
            age: {
                "recall@8": mean([a.rank <= 8 for a in of if a.rank is not None]),
                "accuracy": mean([a.right for a in of]),
                "questions": len(of),
            }
            for age, of in grouped("age", provable).items()
        },
        "questions": len(past),
        "context_tokens": mean([a.tokens for a in past]),
        "ms": mean([a.ms for a in past]),
    }


def run(hours: float, options: argparse.Namespace, progress: Progress) -> list[dict[str, object]]:
    """Watches, asks, and sums up."""
    seconds = int(hours * 3600)
    url = f"scene://?seed={options.seed}&start=2026-03-02T06:00:00&minutes={seconds / 60}&busy={options.busy}"
    source, scene = SourceConfig(url=url, pace="fast"), Scene.from_url(url)
    with rig(source, ModelConfig(name="embedded"), recall_blocks=options.blocks) as bench:
        task = progress.add_task(f"watching {hours:g} h", total=seconds)
        bench.watch_all(lambda ns: progress.update(task, completed=(ns - scene.start_ns) / SECOND_NS))
        moments = scene_moments(scene, seconds)
        asker = Asker(moments, np.random.default_rng([options.seed, 77]))
        questions = draw_each(asker, QUESTION_KINDS, options.each, can_be_shown, tries=40 * options.each)
        prepared, asked = Bench(bench), []
        task = progress.add_task("asking", total=len(questions) * len(RETRIEVERS))
        for question in questions:
            for name in RETRIEVERS:
                asked.append(prepared.ask(name, question, moments, age_of(question, moments)))
                progress.advance(task)
    rows = [row(name, hours, [a for a in asked if a.retriever == name]) for name in RETRIEVERS]
    oracle = rows[-1]["accuracy"]
    return [{**r, "accuracy_oracle": oracle, "blocks": len(prepared.blocks)} for r in rows]


def main() -> None:
    """Prints a table, or with `--json` one object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=93_001)
    parser.add_argument("--busy", type=float, default=0.12)
    parser.add_argument("--each", type=int, default=12, help="questions of each kind")
    parser.add_argument("--blocks", type=int, default=RetrievalConfig().recall_blocks, help="blocks that are recalled")
    parser.add_argument("--text-log", type=int, metavar="BLOCKS", help="a log in words instead; see log_recall.py")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.text_log is not None:
        log_recall.show(options.text_log, as_json=options.json)
        return
    console = Console(stderr=True)
    with Progress(console=console, transient=True) as progress:
        rows = run(options.hours, options, progress)
    if options.json:
        print(json.dumps({"rows": rows}))
        return
    out = Console(width=None if sys.stdout.isatty() else 140)
    columns = ("retriever", *(f"recall@{k}" for k in DEPTHS), "accuracy", "accuracy_now", "context_tokens", "ms")
    table = Table(*columns, box=None)
    for r in rows:
        table.add_row(*(str(r[column]) for column in columns))
    out.print(f"{options.hours:g} h, {rows[0]['blocks']} blocks, {rows[0]['questions']} questions about the past")
    out.print(table)
    kinds = Table("recall@8 / accuracy by kind", *RETRIEVERS, box=None)
    for kind in rows[0]["kinds"]:  # type: ignore[attr-defined]
        kinds.add_row(kind, *(f"{r['recall@8_kinds'].get(kind, '-')} / {r['kinds'][kind]}" for r in rows))  # type: ignore[attr-defined,index]
    out.print(kinds)
    ages = Table("recall@8 / accuracy by age", *RETRIEVERS, box=None)
    for age in rows[0]["by_age"]:  # type: ignore[attr-defined]
        of = [r["by_age"][age] for r in rows]  # type: ignore[index]
        ages.add_row(f"within a {age} ({of[0]['questions']})", *(f"{a['recall@8']} / {a['accuracy']}" for a in of))
    out.print(ages)


if __name__ == "__main__":
    sys.exit(main())
