"""Whether an answer's confidence is the share of such answers that are right, on yards that nobody fitted it on.

The daemon's own answers (`harness.py`) to questions of every kind and phrasing, about now and about long ago. `--fit`
first fits the curve anew on calibration yards and keeps it beside the model's weights.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from harness import rig
from recall import can_be_shown
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch.nn.functional import binary_cross_entropy_with_logits

from longwatch.daemon.calibration.calibration import FILE, Calibration
from longwatch.daemon.calibration.confidence import Confidence
from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.model.family import EMBEDDED
from longwatch.daemon.model.settings import ModelConfig
from longwatch.retrieval.settings import RetrievalConfig
from longwatch.yard.asker import Asker
from longwatch.yard.kinds import QUESTION_KINDS, agrees, draw_each
from longwatch.yard.moment import scene_moments
from longwatch.yard.scene import Scene

FITTED_ON, TOLD_ON = range(50_200, 50_208), range(98_200, 98_204)
EACH, TRIES, BINS, BUSY = 6, 240, 10, 0.2


class JudgedAnswer(NamedTuple):
    """An answer: its confidence, and whether it was right."""

    confidence: float
    right: bool


def answers(seeds: Sequence[int], hours: float, progress: Progress, *, plain: bool = False) -> Iterator[JudgedAnswer]:
    """To questions about each yard, in phrasings that were trained on and others.

    Args:
        plain: with the confidence of a model for which nothing was fitted.
    """
    task = progress.add_task(f"yards from {seeds[0]}", total=len(seeds))
    for seed in seeds:
        url = f"scene://?seed={seed}&start=2026-03-02T06:00:00&minutes={hours * 60}&busy={BUSY}"
        moments = scene_moments(Scene.from_url(url), int(hours * 3600))
        with rig(SourceConfig(url=url, pace="fast"), ModelConfig()) as yard:
            yard.watch_all()
            if plain and yard.calibration is not None:
                yard = yard._replace(calibration=msgspec.structs.replace(yard.calibration, confidence=None))
            for held_out in (False, True):
                asker = Asker(moments, np.random.default_rng([seed, 5, held_out]), held_out=held_out)
                for question in draw_each(asker, QUESTION_KINDS, EACH, can_be_shown, tries=TRIES):
                    end, _ = yard.ask(question.text, span_blocks=RetrievalConfig().span_blocks)
                    if end.confidence is not None:
                        yield JudgedAnswer(end.confidence, agrees(question, end.text))
        progress.advance(task)


def fit(told: Sequence[JudgedAnswer]) -> Confidence:
    """Maximum likelihood, of answers that were told with plain confidence."""
    mean_log_prob = torch.tensor([t.confidence for t in told], dtype=torch.float64).log()
    right = torch.tensor([t.right for t in told], dtype=torch.float64)
    curve = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([curve], max_iter=200)

    def loss() -> torch.Tensor:
        search.zero_grad()
        unlikely = binary_cross_entropy_with_logits(curve[0] * mean_log_prob + curve[1], right)
        unlikely.backward()
        return unlikely

    search.step(loss)
    return Confidence(*(round(value, 3) for value in curve.tolist()))


def reliability(told: Sequence[JudgedAnswer]) -> dict[str, Any]:
    """The curve, and how far it is from the truth.

    `error` is the expected calibration error over ten bins (arXiv 1706.04599); `auc` the chance that a right answer is
    told with more confidence than a wrong one.
    """
    said, right = np.array([t.confidence for t in told]), np.array([t.right for t in told])
    bins = np.minimum((said * BINS).astype(int), BINS - 1)
    curve = [
        {"from": b / BINS, "answers": int(of.sum()), "said": _mean(said[of]), "right": _mean(right[of])}
        for b in range(BINS)
        if (of := bins == b).any()
    ]
    error = sum(of["answers"] * abs(of["said"] - of["right"]) for of in curve) / len(told)
    above = (said[right][:, None] > said[~right][None]) + 0.5 * (said[right][:, None] == said[~right][None])
    return {
        "answers": len(told),
        "right": _mean(right),
        "error": round(error, 3),
        "auc": round(float(above.mean()), 3),
        "curve": curve,
    }


def _mean(values: np.ndarray[Any, Any]) -> float:
    return round(float(values.mean()), 3)


def main() -> None:
    """Prints the curve, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit", action="store_true", help="fit the curve first and keep it")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with Progress(console=Console(stderr=True), transient=True) as progress:
        if options.fit:
            kept = json.loads((EMBEDDED / FILE).read_text())
            found = Calibration.load(EMBEDDED / FILE, kept["fingerprint"])
            curve = fit(list(answers(FITTED_ON, 1.0, progress, plain=True)))
            msgspec.structs.replace(found, confidence=curve).save(EMBEDDED / FILE)
        result = reliability(list(answers(TOLD_ON, 2.0, progress)))
    if options.json:
        print(json.dumps(result))
        return
    table = Table("confidence", "answers", "mean", "of these right", box=None)
    for of in result["curve"]:
        table.add_row(f"from {of['from']:.1f}", str(of["answers"]), f"{of['said']:.2f}", f"{of['right']:.2f}")
    out = Console(width=None if sys.stdout.isatty() else 100)
    out.print(table)
    out.print(f"{result['answers']} answers, {result['right']:.3f} right; error {result['error']}, AUC {result['auc']}")


if __name__ == "__main__":
    main()
