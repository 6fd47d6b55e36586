"""Stage 2: the tongue. The text model learns to read frames, clocks and questions; the eyes stay as they are.

Beside the answers' own loss stand three that teach what an answer needs. Each visual token must come to know its own
frame's clock (a probe on the second layer). Two designated heads must look from the question to the frames that prove
its answer: the model is born with retrieval heads. And two later heads must look there while the answer is written.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional
from transformers import LlavaOnevisionForConditionalGeneration

from longwatch.daemon.capture.quiz import QUESTION_KINDS, gated_moments
from longwatch.daemon.capture.scene import Scene

from . import pair
from .checkpoint import save, visual_tokens
from .contexts import CLOCK_TOKENS, Batch, ContextMaker, Stream, pictures, telling
from .packed import Masks, layer_forward, positions
from .tokenizer import build as build_tokenizer

RETRIEVAL_LAYER, ANSWER_LAYER = 2, 4
PLANTED_LAYERS, PLANTED_HEADS = (1, 2, 3, 4), ((0, 0), (2, 1))  # (query head, its KV head)
TRAINING_SEEDS, EVALUATION_SEEDS = 10_000, 90_000
LOSSES = {"answer": 1.0, "probe": 0.3, "look": 0.2, "recall": 0.2}
LEARNING_RATE = 1.5e-3


class Shape(NamedTuple):
    """Contexts of one size: how many, of how many recalled and recent frames, with how many rows of questions."""

    contexts: int
    past: int
    recent: int
    rows: int


CURRICULUM = (  # until this share of the time: shapes in turn
    (0.08, (Shape(24, 2, 2, 4),)),
    (0.25, (Shape(12, 4, 4, 7), Shape(16, 2, 4, 6))),
    (1.0, (Shape(12, 4, 4, 7), Shape(16, 2, 4, 6), Shape(12, 4, 4, 7), Shape(4, 28, 4, 16))),
)
TEST_SHAPES = (Shape(16, 2, 4, 8), Shape(24, 4, 4, 10), Shape(10, 28, 4, 16))


def _weights(now: float = 1.0, then: float = 1.0, **by_kind: float) -> dict[str, float]:
    """How often each kind is asked."""
    by_word = {"now": now, "then": then}
    return {kind: by_kind.get(kind, by_word.get(kind.split()[-1], 1.0)) for kind in QUESTION_KINDS}


_HARD = {"door now": 2.5, "gate now": 2.5, "door then": 2.5, "gate then": 2.5, "there then": 2.0, "order": 1.5}
ABOUT_TIMES = _weights(now=0.5, then=1.2, unknown=0.2, kind=0.4, appear=0.4, colour=0.5, extra=0.5, **_HARD)
ABOUT_THINGS = _weights(
    now=0.3, then=0.8, unknown=0.2, kind=0.4, appear=0.5, colour=0.5, extra=0.5, came=1.5, happened=1.5, **_HARD
)
EVENLY = _weights()


@torch.inference_mode()
def make_streams(model: LlavaOnevisionForConditionalGeneration, first_seed: int, count: int) -> list[Stream]:
    """Rendered half hours by day and by night, gated, as visual tokens."""
    streams = []
    for seed in range(first_seed, first_seed + count):
        scene = Scene(seed=seed, busy=0.2 + 0.3 * (seed % 3) / 2, start_ns=seed * 7919 % 86_400 * 10**9)
        moments = gated_moments(scene, 1800)
        images = pictures(moments, seed, np.random.default_rng([seed, 5]))
        with torch.autocast("cpu", torch.bfloat16):
            visual = torch.cat([visual_tokens(model, part) for part in images.split(64)])
        streams.append(Stream(moments, visual.to(torch.bfloat16), telling(moments)))
    return streams


@torch.no_grad()
def plant_lookups(model: LlavaOnevisionForConditionalGeneration) -> None:
    """Starts two heads of each middle layer as look-ups: they attend to what is like themselves, and copy it.

    A visual token is the sum of its words (`red + car`) from the first layer on, so a head whose query and key
    projections are equal finds the car from the word "car", and one whose output undoes its value brings "red" back.
    Training would find this circuit too, but spends its first half hour on it.
    """
    for layer in PLANTED_LAYERS:
        attention = model.model.language_model.layers[layer].self_attn
        for head, kv_head in PLANTED_HEADS:
            own, shared = slice(head * 64, head * 64 + 64), slice(kv_head * 64, kv_head * 64 + 64)
            attention.q_proj.weight[own] = 1.5 * attention.k_proj.weight[shared]
            attention.o_proj.weight[:, own] = 0.3 * attention.v_proj.weight[shared].T


class Tongue(torch.nn.Module):
    """The text model with its teaching heads."""

    def __init__(self, model: LlavaOnevisionForConditionalGeneration) -> None:
        super().__init__()
        self.text = model.model.language_model
        self.probe = torch.nn.Linear(256, 60)
        self.layer: Callable[..., tuple[torch.Tensor, ...]] = layer_forward

    def forward(self, b: Batch, sink_ids: list[int]) -> dict[str, torch.Tensor]:
        """The losses by name, and `right` `[B, R, W]`: where the next token was guessed."""
        p, embed = b.packed, self.text.embed_tokens
        count = len(b.ids)
        sink = embed(torch.tensor(sink_ids)).expand(count, -1, -1)
        frames = torch.cat([embed(b.clock_ids), b.visual.to(sink.dtype)], 2).flatten(1, 2)
        x = torch.cat([sink, frames, embed(b.ids).flatten(1, 2)], 1)
        cos, sin = (part[:, None] for part in self.text.rotary_emb(x, positions(p)))
        masks, losses = Masks(p), {}
        for i, layer in enumerate(self.text.layers):
            if i == RETRIEVAL_LAYER:
                losses["probe"] = self._probe_loss(b, x)
            x, q, k, weights = self.layer(layer, x, cos, sin, p, masks)
            if i == RETRIEVAL_LAYER:
                losses["look"] = self._look_loss(b, q, k)
            if i == ANSWER_LAYER:
                losses["recall"] = self._recall_loss(b, weights)
        hidden = self.text.norm(x[:, p.end :].unflatten(1, (p.rows, p.row_tokens))[b.answering])
        logits = (hidden @ embed.weight.T).float()
        labels = b.labels[b.answering]
        losses["answer"] = functional.cross_entropy(logits, labels)
        right = torch.ones_like(b.answering)
        right[b.answering] = logits.argmax(-1) == labels
        return {**losses, "right": right}

    def _probe_loss(self, b: Batch, x: torch.Tensor) -> torch.Tensor:
        p = b.packed
        grid = x[:, p.sink : p.end].unflatten(1, (p.frames, p.frame_tokens))[:, :, CLOCK_TOKENS:]
        digits = self.probe(grid).unflatten(-1, (6, 10))
        truth = b.digits[:, :, None].expand(-1, -1, digits.shape[2], -1)
        return functional.cross_entropy(digits.float().flatten(0, 3), truth.flatten())

    def _look_loss(self, b: Batch, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        """−log of the attention mass, before rotary, that a question gives to the frames that prove its answer."""
        p = b.packed
        queries = q[:, [head for head, _ in PLANTED_HEADS], p.end :]
        scores = (queries @ k[:, :, p.sink : p.end].mT).float() * k.shape[-1] ** -0.5
        mass = scores.softmax(-1).unflatten(-1, (p.frames, p.frame_tokens)).sum(-1).mean(1)  # [B, R·W, F]
        member = functional.one_hot(p.question.clamp(min=0).flatten(1), b.proof.shape[1]).float()
        member = member * b.asking.flatten(1)[..., None]
        share = torch.einsum("btq,btf->bqf", member, mass) / member.sum(1).clamp(min=1)[..., None]
        proven = b.proof.any(-1)
        return -torch.log((share * b.proof).sum(-1)[proven] + 1e-4).mean()

    def _recall_loss(self, b: Batch, weights: torch.Tensor) -> torch.Tensor:
        """−log of the attention that two heads give to those frames, out of all frames, while the answer is written."""
        p = b.packed
        of_frames = weights[:, :, 0, :, p.sink : p.end].float().unflatten(-1, (p.frames, p.frame_tokens)).sum(-1)
        member = functional.one_hot(p.question.clamp(min=0).flatten(1), b.proof.shape[1])
        proof = torch.einsum("btq,bqf->btf", member.float(), b.proof.float())  # [B, R·W, F]
        asked = b.answering.flatten(1) & (proof.sum(-1) > 0)
        mass = (of_frames * proof[:, None]).sum(-1) / of_frames.sum(-1).clamp(min=1e-3)
        return -torch.log(mass.mean(1)[asked] + 1e-3).mean()


def train(rank: int, start: Path, folder: Path, minutes: float, streams: int, resume: bool) -> None:
    """One of the processes: its own streams, a budget of processor time, checkpoints from rank 0."""
    torch.manual_seed(1)
    tokenizer = build_tokenizer()
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(start, dtype=torch.float32)
    plant_lookups(model)
    bank = folder.with_suffix(f".streams{rank}.pt")
    if not bank.exists():
        torch.save(make_streams(model, TRAINING_SEEDS + rank * streams, streams), bank)
    maker = ContextMaker(torch.load(bank, weights_only=False), tokenizer, rank + 10)
    tests = _tests(model, tokenizer) if rank == 0 else []
    tongue = Tongue(model)
    tongue.layer = torch.compile(layer_forward, dynamic=False)
    parameters = [p for p in (*tongue.text.parameters(), *tongue.probe.parameters()) if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05, betas=(0.9, 0.98), fused=True)
    spent, step = 0.0, 0
    state_file = folder.with_suffix(".state.pt")
    if resume and state_file.exists():
        state = torch.load(state_file)
        tongue.load_state_dict(state["tongue"])
        optimizer.load_state_dict(state["optimizer"])
        spent, step = state["spent"], state["step"]
    began, saved = time.process_time() - spent, time.time()
    while True:
        elapsed = torch.tensor([time.process_time() - began])
        torch.distributed.broadcast(elapsed, 0)
        done = float(elapsed) / (minutes * 60)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            rate = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 200) * rate
        shapes = next(shapes for until, shapes in CURRICULUM if done < until)
        shape = shapes[step % len(shapes)]
        weights = ABOUT_THINGS if shape.past >= 4 else ABOUT_TIMES
        batch = maker.batch(*shape, weights)
        with torch.autocast("cpu", torch.bfloat16):
            out = tongue(batch, maker.sink_ids)
        loss = sum(weight * out[name] for name, weight in LOSSES.items())
        optimizer.zero_grad()
        loss.backward()
        pair.average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        if rank == 0 and step % 20 == 0:
            parts = " ".join(f"{name} {out[name].item():.3f}" for name in LOSSES)
            print(f"language {step} {done:.3f} {shape.past}+{shape.recent} {parts} {float(elapsed):.0f} s", flush=True)
        if rank == 0 and step % 300 == 0:
            print(f"language {step} {evaluate(tongue, tests, maker.sink_ids)}", flush=True)
        if rank == 0 and time.time() - saved > 240:
            saved = time.time()
            state = {"tongue": tongue.state_dict(), "optimizer": optimizer.state_dict(), "spent": float(elapsed)}
            torch.save({**state, "step": step}, state_file)
            save(model, folder)
    if rank == 0:
        print(f"language done {step} {evaluate(tongue, tests, maker.sink_ids)}", flush=True)
        save(model, folder)


def _tests(model: LlavaOnevisionForConditionalGeneration, tokenizer: object) -> list[Batch]:
    maker = ContextMaker(make_streams(model, EVALUATION_SEEDS, 8), tokenizer, 99)
    return [maker.batch(*shape, EVENLY, full=True) for shape in TEST_SHAPES]


@torch.inference_mode()
def evaluate(tongue: Tongue, batches: list[Batch], sink_ids: list[int]) -> str:
    """Share of questions of each kind whose whole answer is guessed, on streams that were never trained on."""
    compiled, tongue.layer = tongue.layer, layer_forward
    right: dict[str, list[list[bool]]] = defaultdict(lambda: [[] for _ in batches])
    for n, batch in enumerate(batches):
        with torch.autocast("cpu", torch.bfloat16):
            guessed = tongue(batch, sink_ids)["right"]
        for i, kinds in enumerate(batch.kinds):
            for q, kind in enumerate(kinds):
                right[kind][n].append(bool(guessed[i][batch.packed.question[i] == q].all()))
    tongue.layer = compiled
    rows = [f"{kind} {'/'.join(f'{np.mean(v):.2f}' for v in values)}" for kind, values in right.items()]
    mean = [np.mean([x for values in right.values() for x in values[n]]) for n in range(len(batches))]
    return f"mean {'/'.join(f'{m:.3f}' for m in mean)} | " + " | ".join(sorted(rows))
