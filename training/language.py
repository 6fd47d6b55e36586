"""Stage 2: the text model learns to read frames, clocks and questions. The vision tower stays as it is.

Contexts grow from four frames to thirty-two, and kinds of question that go badly are asked more often.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from transformers import LlavaOnevisionForConditionalGeneration

from longwatch.yard.kinds import QUESTION_KINDS
from longwatch.yard.moment import gated_moments
from longwatch.yard.scene import Scene

from . import pair
from .checkpoint import save, visual_tokens
from .contexts import Batch, ContextMaker, Stream, find_stories, paint_frames
from .lessons import Lessons
from .packed import layer_forward
from .planting import plant
from .precision import autocast
from .tokenizer import build as build_tokenizer
from .tongue import Tongue

TRAINING_SEEDS, EVALUATION_SEEDS = 10_000, 90_000
LOSSES = {"answer": 1.0, "clock": 0.3, "ordinal": 0.2, "dials": 0.4, "look": 0.2, "recall": 0.2}
MATRIX_RATE, OTHER_RATE, WARM_STEPS = 8e-3, 3e-3, 100
GOING_ON = 0.5  # of the curriculum: where a run that starts from a trained checkpoint begins
SAVE_SECONDS, TELL_STEPS, TEST_STEPS = 240, 20, 300


class Shape(NamedTuple):
    """The size of contexts: how many, with how many recalled and recent frames and rows of questions.

    Attributes:
        hidden: how many frames before each recalled one only that one has seen.
    """

    contexts: int
    past: int
    recent: int
    rows: int
    hidden: int = 0


_ONE, _FEW, _NEAR = Shape(32, 0, 1, 2), Shape(24, 2, 2, 4), Shape(16, 2, 4, 6)
_SOME, _MANY = Shape(12, 4, 4, 7), Shape(4, 28, 4, 16)
_SINGLE = Shape(4, 7, 4, 12, hidden=3)
CURRICULUM = (  # until this share of the time: shapes in turn
    (0.08, (_FEW,)),
    (0.4, (_SOME, _NEAR, _SOME, _MANY)),
    (1.0, (_SOME, _MANY, _SINGLE, _MANY, _ONE, _MANY, _NEAR, _SINGLE)),
)
TEST_SHAPES = (Shape(16, 2, 4, 8), Shape(24, 4, 4, 10), Shape(10, 28, 4, 16))


@torch.inference_mode()
def make_streams(model: LlavaOnevisionForConditionalGeneration, first_seed: int, count: int) -> list[Stream]:
    """Rendered half hours by day and by night, gated, as visual tokens."""
    streams = []
    for seed in range(first_seed, first_seed + count):
        scene = Scene(seed=seed, busy=0.2 + 0.3 * (seed % 3) / 2, start_ns=seed * 7919 % 86_400 * 10**9)
        moments = gated_moments(scene, 1800)
        images = paint_frames(moments, seed, np.random.default_rng([seed, 5]))
        with autocast():
            visual = torch.cat([visual_tokens(model, part) for part in images.split(64)])
        streams.append(Stream(moments, visual.to(torch.bfloat16), find_stories(moments)))
    return streams


class Course:
    """A run of the language stage: the model in training, its optimizers, and how far it has come.

    Muon updates the hidden matrices, which takes half as long here as AdamW; AdamW updates everything else.

    Args:
        folder: where checkpoints go. The state that a stopped run resumes from lies beside it.
        minutes: processor time.
        begun: how much of the curriculum counts as done at the start.
    """

    def __init__(
        self, model: LlavaOnevisionForConditionalGeneration, folder: Path, minutes: float, begun: float
    ) -> None:
        self.model, self.folder, self._seconds, self._begun = model, folder, minutes * 60, begun
        self.tongue = Tongue(model)
        self.tongue.layer = torch.compile(layer_forward, dynamic=False)
        self.parameters = [p for p in self.tongue.parameters() if p.requires_grad]
        matrices = [p for p in self.tongue.text.layers.parameters() if p.ndim == 2]
        others = [p for p in self.parameters if all(p is not matrix for matrix in matrices)]
        self._optimizers: dict[float, torch.optim.Optimizer] = {
            MATRIX_RATE: torch.optim.Muon(matrices, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
            OTHER_RATE: torch.optim.AdamW(others, weight_decay=0.05, betas=(0.9, 0.98), fused=True),
        }
        self._lessons = {shape: Lessons(list(QUESTION_KINDS)) for _, shapes in CURRICULUM for shape in shapes}
        self._spent, self.step = 0.0, 0
        self._state_file = folder.with_suffix(".state.pt")
        if self._state_file.exists():
            self._resume()
        self._began, self._saved = time.process_time() - self._spent, time.time()

    def done(self) -> float:
        """The share of the curriculum that is done, by processor time as rank 0 counts it."""
        self._spent = time.process_time() - self._began
        spent = torch.tensor([self._spent])
        torch.distributed.broadcast(spent, 0)
        return self._begun + (1 - self._begun) * float(spent) / self._seconds

    def learn(self, maker: ContextMaker, done: float) -> str:
        """One step. Returns a line about it."""
        shapes = next(shapes for until, shapes in CURRICULUM if done < until)
        shape = shapes[self.step % len(shapes)]
        lessons = self._lessons[shape]
        batch = maker.batch(*shape, lessons.weights())
        with autocast():
            out = self.tongue(batch, maker.sink_ids)
        for optimizer in self._optimizers.values():
            optimizer.zero_grad()
        sum(weight * out[name] for name, weight in LOSSES.items()).backward()
        pair.average_gradients(self.parameters)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for rate, optimizer in self._optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, (self.step + 1) / WARM_STEPS) * _cool(done)
            optimizer.step()
        lessons.note(_grade(batch, out["right"]))
        self.step += 1
        parts = " ".join(f"{name} {out[name].item():.3f}" for name in LOSSES)
        return f"language {self.step} {done:.3f} {shape.past}+{shape.recent} {parts}"

    def keep(self, *, now: bool = False) -> None:
        """Saves the checkpoint and the state to resume from, every few minutes."""
        if not now and time.time() - self._saved < SAVE_SECONDS:
            return
        self._saved = time.time()
        optimizers = [optimizer.state_dict() for optimizer in self._optimizers.values()]
        state = {"tongue": self.tongue.state_dict(), "optimizers": optimizers, "lessons": self._lessons}
        torch.save({**state, "spent": self._spent, "step": self.step}, self._state_file)
        save(self.model, self.folder)

    def _resume(self) -> None:
        state = torch.load(self._state_file, weights_only=False)
        self.tongue.load_state_dict(state["tongue"])
        for optimizer, kept in zip(self._optimizers.values(), state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self._lessons, self._spent, self.step = state["lessons"], state["spent"], state["step"]


def _cool(done: float) -> float:
    """The learning rate's share: level for the first third, then down to a fiftieth along half a cosine."""
    falling = max(0.0, done - 0.3) / 0.7
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * falling))


def _grade(batch: Batch, right: torch.Tensor) -> list[tuple[str, bool]]:
    """The kind of each question that was answered, and whether its whole answer was right."""
    graded = []
    for i, kinds in enumerate(batch.kinds):
        asked = batch.packed.question[i][batch.answering[i]]
        missed = set(batch.packed.question[i][batch.answering[i] & ~right[i]].tolist())
        graded += [(kinds[q], q not in missed) for q in asked.unique().tolist()]
    return graded


def train(rank: int, start: Path, folder: Path, minutes: float, streams: int, fresh: bool) -> None:
    """One of the processes. It has its own streams and a budget of processor time; rank 0 saves checkpoints.

    A stopped run resumes where it was.

    Args:
        fresh: only the vision tower of `start` is trained. Otherwise `start` is a whole trained checkpoint, and the
            run is the second half of the curriculum.
    """
    torch.manual_seed(1)
    tokenizer = build_tokenizer()
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(start, dtype=torch.float32)
    if fresh:
        plant(model)
    bank = folder.with_suffix(f".streams{rank}.pt")
    if not bank.exists():
        torch.save(make_streams(model, TRAINING_SEEDS + rank * streams, streams), bank)
    course = Course(model, folder, minutes, 0.0 if fresh else GOING_ON)
    maker = ContextMaker(torch.load(bank, weights_only=False), tokenizer, rank + 10 + 2 * course.step)
    tests = _tests(model, tokenizer) if rank == 0 else []
    while (done := course.done()) < 1:
        line = course.learn(maker, done)
        if rank == 0:
            if course.step % TELL_STEPS == 0:
                print(line, flush=True)
            if course.step % TEST_STEPS == 0:
                print(f"language {course.step} {evaluate(course.tongue, tests, maker.sink_ids)}", flush=True)
            course.keep()
    if rank == 0:
        print(f"language done {course.step} {evaluate(course.tongue, tests, maker.sink_ids)}", flush=True)
        course.keep(now=True)


def _tests(model: LlavaOnevisionForConditionalGeneration, tokenizer: object) -> list[Batch]:
    maker = ContextMaker(make_streams(model, EVALUATION_SEEDS, 8), tokenizer, 99)
    return [maker.batch(*shape, dict.fromkeys(QUESTION_KINDS, 1.0), full=True) for shape in TEST_SHAPES]


@torch.inference_mode()
def evaluate(tongue: Tongue, batches: list[Batch], sink_ids: list[int]) -> str:
    """Share of questions of each kind whose whole answer is right, on streams that were never trained on."""
    compiled, tongue.layer = tongue.layer, layer_forward
    right: dict[str, list[list[bool]]] = defaultdict(lambda: [[] for _ in batches])
    for n, batch in enumerate(batches):
        with autocast():
            guessed = tongue(batch, sink_ids)["right"]
        for i, kinds in enumerate(batch.kinds):
            for q, kind in enumerate(kinds):
                right[kind][n].append(bool(guessed[i][batch.packed.question[i] == q].all()))
    tongue.layer = compiled
    rows = [f"{kind} {'/'.join(f'{np.mean(v):.2f}' for v in values)}" for kind, values in right.items()]
    mean = [np.mean([x for values in right.values() for x in values[n]]) for n in range(len(batches))]
    return f"mean {'/'.join(f'{m:.3f}' for m in mean)} | " + " | ".join(sorted(rows))
