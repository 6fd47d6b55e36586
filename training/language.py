"""Stage 2: the tongue. The text model learns to read frames, clocks and questions; the eyes stay as they are.

Beside the answers' own loss stand three that teach what an answer needs: each visual token must come to know its own
frame's clock (a probe on the second layer), the clock's digits follow one another, and two designated heads must look
from the question to the frames that prove its answer (the model is born with retrieval heads).
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import LlavaOnevisionForConditionalGeneration

from longwatch.daemon.capture.scene import Scene

from . import pair
from .checkpoint import save, visual_tokens
from .contexts import CLOCK_TOKENS, FRAME_TOKENS, IGNORED, Batch, ContextMaker, Stream, gated_moments, pictures
from .tokenizer import build as build_tokenizer

RETRIEVAL_LAYER, RETRIEVAL_HEADS = 2, (0, 2)
TRAINING_SEEDS, EVALUATION_SEEDS = 10_000, 90_000
CURRICULUM = (  # until this share of the time: (recalled, recent) frames in turn
    (0.12, ((1, 1), (2, 2))),
    (0.3, ((1, 3), (4, 2), (2, 3), (4, 4))),
    (1.0, ((1, 4), (4, 4), (2, 4), (4, 4), (3, 4), (4, 4))),
)
FRAMES_A_BATCH, QUESTIONS = 100, 20


@torch.inference_mode()
def make_streams(model: LlavaOnevisionForConditionalGeneration, first_seed: int, count: int) -> list[Stream]:
    """Rendered half hours, gated, as visual tokens."""
    streams = []
    for seed in range(first_seed, first_seed + count):
        scene = Scene(seed=seed, busy=0.25 + 0.3 * (seed % 3) / 2)
        moments = gated_moments(scene, 1800)
        images = pictures(moments, seed, np.random.default_rng([seed, 5]))
        with torch.autocast("cpu", torch.bfloat16):
            visual = torch.cat([visual_tokens(model, part) for part in images.split(64)])
        streams.append(Stream(moments, visual.to(torch.bfloat16)))
    return streams


@torch.no_grad()
def plant_lookups(model: LlavaOnevisionForConditionalGeneration) -> None:
    """Starts two heads of each middle layer as look-ups: they attend to what is like themselves, and copy it.

    A visual token is the sum of its words (`red + car`) from the first layer on, so a head whose query and key
    projections are equal finds the car from the word "car", and one whose output undoes its value brings "red" back.
    Training would find this circuit too, but spends its first half hour on it.
    """
    for layer in model.model.language_model.layers[1:5]:
        attention = layer.self_attn
        for head, kv_head in ((0, 0), (2, 1)):
            own, shared = slice(head * 64, head * 64 + 64), slice(kv_head * 64, kv_head * 64 + 64)
            attention.q_proj.weight[own] = 1.5 * attention.k_proj.weight[shared]
            attention.o_proj.weight[:, own] = 0.3 * attention.v_proj.weight[shared].T


class Tongue(torch.nn.Module):
    """The text model with its teaching heads; records the designated heads' queries and keys as it runs."""

    def __init__(self, model: LlavaOnevisionForConditionalGeneration) -> None:
        super().__init__()
        self.text = model.model.language_model
        self.probe = torch.nn.Linear(256, 60)
        layers = self.text.layers
        attention = layers[RETRIEVAL_LAYER].self_attn
        self.kept: dict[str, torch.Tensor] = {}
        attention.q_proj.register_forward_hook(lambda _m, _i, out: self.kept.__setitem__("queries", out))
        attention.k_proj.register_forward_hook(lambda _m, _i, out: self.kept.__setitem__("keys", out))
        layers[RETRIEVAL_LAYER].register_forward_pre_hook(lambda _m, args: self.kept.__setitem__("hidden", args[0]))

    def forward(self, b: Batch) -> dict[str, torch.Tensor]:
        """The losses by name, and `right` `[B, T]`: where the next token was guessed."""
        frames = b.visual.shape[1]
        sink = int((b.question[0] >= 0).nonzero()[0, 0]) - frames * FRAME_TOKENS
        inputs = self.text.embed_tokens(b.ids)
        end = sink + frames * FRAME_TOKENS
        grid = inputs[:, sink:end].unflatten(1, (frames, FRAME_TOKENS))
        grid = torch.cat([grid[:, :, :CLOCK_TOKENS], b.visual.to(inputs.dtype)], 2)
        inputs = torch.cat([inputs[:, :sink], grid.flatten(1, 2), inputs[:, end:]], 1)
        hidden = self.text(
            inputs_embeds=inputs, attention_mask=b.mask, position_ids=b.positions, use_cache=False
        ).last_hidden_state
        asked = b.labels != IGNORED
        logits = hidden[asked] @ self.text.embed_tokens.weight.T
        losses = functional.cross_entropy(logits.float(), b.labels[asked], reduction="none")
        answers = b.question[asked] >= 0
        right = torch.ones_like(b.labels, dtype=torch.bool)
        right[asked] = logits.argmax(-1) == b.labels[asked]
        return {
            "answer": losses[answers].mean(),
            "clock": losses[~answers].mean(),
            "probe": self._probe_loss(b, sink, frames),
            "look": self._look_loss(b, sink, frames),
            "right": right,
        }

    def _probe_loss(self, b: Batch, sink: int, frames: int) -> torch.Tensor:
        hidden = self.kept["hidden"][:, sink : sink + frames * FRAME_TOKENS].unflatten(1, (frames, FRAME_TOKENS))
        digits = self.probe(hidden[:, :, CLOCK_TOKENS:]).unflatten(-1, (6, 10))
        truth = b.digits[:, :, None].expand(-1, -1, digits.shape[2], -1)
        return functional.cross_entropy(digits.float().flatten(0, 3), truth.flatten())

    def _look_loss(self, b: Batch, sink: int, frames: int) -> torch.Tensor:
        """−log of the attention mass, before rotary, that a question gives to the frames that prove its answer."""
        end = sink + frames * FRAME_TOKENS
        queries = self.kept["queries"][:, end:].unflatten(-1, (4, 64))[:, :, list(RETRIEVAL_HEADS)].float()
        keys = self.kept["keys"][:, sink:end].unflatten(-1, (2, 64)).float()
        scores = torch.einsum("bqhd,bkhd->bhqk", queries, keys) / 8.0
        mass = scores.softmax(-1).unflatten(-1, (frames, FRAME_TOKENS)).sum(-1).mean(1)
        question = b.question[:, end:]
        count = b.proof.shape[1]
        member = functional.one_hot(question.clamp(min=0), count) * b.asking[:, end:, None]
        share = torch.einsum("btq,btf->bqf", member.float(), mass) / member.sum(1).clamp(min=1)[..., None]
        proven = b.proof.any(-1)
        return -torch.log((share * b.proof).sum(-1)[proven] + 1e-4).mean()


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
    parameters = [p for p in tongue.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05, betas=(0.9, 0.98))
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
            group["lr"] = 1.2e-3 * min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        choices = next(shapes for until, shapes in CURRICULUM if done < until)
        past, recent = choices[step % len(choices)]
        batch = maker.batch(min(24, FRAMES_A_BATCH // (past + recent)), past, recent, QUESTIONS)
        with torch.autocast("cpu", torch.bfloat16):
            out = tongue(batch)
        loss = out["answer"] + 0.1 * out["clock"] + 0.3 * out["probe"] + 0.2 * out["look"]
        optimizer.zero_grad()
        loss.backward()
        pair.average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        if rank == 0 and step % 20 == 0:
            parts = " ".join(f"{name} {out[name].item():.3f}" for name in ("answer", "clock", "probe", "look"))
            print(f"language {step} {done:.3f} frames {past}+{recent} {parts} {float(elapsed):.0f} s", flush=True)
        if rank == 0 and step % 200 == 0:
            print(f"language {step} {evaluate(tongue, tests)}", flush=True)
        if rank == 0 and time.time() - saved > 240:
            saved = time.time()
            state = {
                "tongue": tongue.state_dict(),
                "optimizer": optimizer.state_dict(),
                "spent": float(elapsed),
            }
            torch.save({**state, "step": step}, state_file)
            save(model, folder)
    if rank == 0:
        print(f"language done {evaluate(tongue, tests)}", flush=True)
        save(model, folder)


def _tests(model: LlavaOnevisionForConditionalGeneration, tokenizer: object) -> list[Batch]:
    streams = make_streams(model, EVALUATION_SEEDS, 6)
    maker = ContextMaker(streams, tokenizer, 99)
    return [maker.batch(12, past, recent, 22, full=True) for past, recent in ((2, 4), (4, 4), (4, 4))]


@torch.inference_mode()
def evaluate(tongue: Tongue, batches: list[Batch]) -> str:
    """Share of questions of each kind whose whole answer is guessed, on streams that were never trained on."""
    right: dict[str, list[bool]] = defaultdict(list)
    for batch in batches:
        with torch.autocast("cpu", torch.bfloat16):
            guessed = tongue(batch)["right"]
        for i, kinds in enumerate(batch.kinds):
            for q, kind in enumerate(kinds):
                name = f"{kind}@{batch.visual.shape[1]}"
                right[name].append(bool(guessed[i][batch.question[i] == q].all()))
    return " | ".join(f"{name} {np.mean(values):.2f}" for name, values in sorted(right.items()))
