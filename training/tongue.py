"""`Tongue`: the text model with the losses that teach it.

Five losses beside that of the answers teach what an answer needs:

    clock, ordinal   each visual token knows its frame's clock, and which thing of the frame it is (probes on layer 2)
    dials            a layer later it, and a question's clocks, know where the hands of clocks of many speeds stand, so
                     that times can be near each other and not only equal
    look             certain heads of two layers look from the question to the very tokens that its answer rests on: the
                     model is made with retrieval heads
    recall           while the answer is written, two heads look at what each of its words is about
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional
from transformers import LlavaOnevisionForConditionalGeneration

from .contexts import CLOCK_TOKENS, MOST_COUNTED, VISUAL_TOKENS, Batch
from .packed import Masks, Packed, layer_forward, positions
from .planting import PLANTED_HEADS

DIGIT_LAYER, DIAL_LAYER, LOOK_LAYERS, ANSWER_LAYER = 2, 3, (2, 4), 4
DIALS = (86_400, 21_600, 7_200, 3_600, 1_200, 600, 200, 60)  # seconds in which a hand goes round
DIGIT_SECONDS = (36_000, 3_600, 600, 60, 10, 1)


class Tongue(torch.nn.Module):
    """The text model with its teaching heads."""

    def __init__(self, model: LlavaOnevisionForConditionalGeneration) -> None:
        super().__init__()
        self.text = model.model.language_model
        self.clock_probe, self.ordinal_probe = _probe(60), _probe(MOST_COUNTED + 1)
        self.dial_probe = _probe(2 * len(DIALS))
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
            if i == DIGIT_LAYER:
                losses |= self._probe_losses(b, x)
            if i == DIAL_LAYER:
                losses["dials"] = self._dial_loss(b, x)
            x, q, k, weights = self.layer(layer, x, cos, sin, p, masks)
            if i in LOOK_LAYERS:
                losses["look"] = losses.get("look", 0.0) + self._look_loss(b, q, k) / len(LOOK_LAYERS)
            if i == ANSWER_LAYER:
                losses["recall"] = self._recall_loss(b, weights)
        hidden = self.text.norm(x[:, p.end :].unflatten(1, (p.rows, p.row_tokens))[b.answering])
        logits = (hidden @ embed.weight.T).float()
        labels = b.labels[b.answering]
        losses["answer"] = functional.cross_entropy(logits, labels)
        right = torch.ones_like(b.answering)
        right[b.answering] = logits.argmax(-1) == labels
        return {**losses, "right": right}

    def _probe_losses(self, b: Batch, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """What each visual token must know by this layer: its frame's clock, and which thing of the frame it is."""
        grid = _grid(b, x)
        digits = self.clock_probe(grid).unflatten(-1, (6, 10))
        truth = b.digits[:, :, None].expand(-1, -1, digits.shape[2], -1)
        ordinals = self.ordinal_probe(grid)
        return {
            "clock": functional.cross_entropy(digits.float().flatten(0, 3), truth.flatten()),
            "ordinal": functional.cross_entropy(ordinals.float().flatten(0, 2), b.ordinals.flatten()),
        }

    def _dial_loss(self, b: Batch, x: torch.Tensor) -> torch.Tensor:
        """Squared error of the hands, as points on the unit circle, of frames and of the clocks in questions."""
        p = b.packed
        of_frames = self.dial_probe(_grid(b, x)).float() - _hands(b.digits)[:, :, None]
        clocks = b.spoken[..., 0] >= 0
        rows = x[:, p.end :].unflatten(1, (p.rows, p.row_tokens))
        of_questions = self.dial_probe(rows[clocks]).float() - _hands(b.spoken[clocks])
        return of_frames.square().mean() + (of_questions.square().mean() if len(of_questions) else 0.0)

    def _look_loss(self, b: Batch, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        """−log of the attention mass, before rotary, that a question gives to each thing that it looks for.

        Hidden frames get none. They show the same things as the frame behind them, and no question can see them.
        """
        p = b.packed
        queries = q[:, [head for head, _ in PLANTED_HEADS], p.end :]
        scores = (queries @ k[:, :, p.sink : p.end].mT).float() * k.shape[-1] ** -0.5
        hidden = ~b.kept.repeat_interleave(p.frame_tokens, 1)[:, None, None]
        mass = _visual(scores.masked_fill(hidden, -torch.inf).softmax(-1).mean(1), p)  # [B, R·W, F·16]
        asking = p.question.flatten(1).masked_fill(~b.asking.flatten(1), -2)  # [B, R·W]
        member = (b.seeker[:, :, None] == asking[:, None]).float()  # [B, S, R·W]
        share = member @ mass / member.sum(-1, keepdim=True).clamp(min=1)  # [B, S, F·16]
        return -torch.log((share * b.sought.flatten(2)).sum(-1)[b.seeker >= 0] + 1e-4).mean()

    def _recall_loss(self, b: Batch, weights: torch.Tensor) -> torch.Tensor:
        """−log of the share of two heads' attention to frames that goes to the tokens that show what is written."""
        p = b.packed
        of_frames = weights[:, :, 0, :, p.sink : p.end].float()  # [B, 2, R·W, F·T]
        part = b.part.flatten(1)
        shown = b.shown.flatten(2).gather(1, part.clamp(min=0)[..., None].expand(-1, -1, p.frames * VISUAL_TOKENS))
        mass = (_visual(of_frames, p) * shown[:, None]).sum(-1) / of_frames.sum(-1).clamp(min=1e-3)
        written = (part >= 0) & shown.any(-1)
        return -torch.log(mass.mean(1)[written] + 1e-3).mean()


def _probe(width: int) -> torch.nn.Sequential:
    """A linear read-out of a hidden state. It starts at zero."""
    linear = torch.nn.Linear(256, width)
    torch.nn.init.zeros_(linear.weight)
    return torch.nn.Sequential(torch.nn.RMSNorm(256, elementwise_affine=False), linear)


def _grid(b: Batch, x: torch.Tensor) -> torch.Tensor:
    """`[B, F, 16, d]`: the visual tokens."""
    p = b.packed
    return x[:, p.sink : p.end].unflatten(1, (p.frames, p.frame_tokens))[:, :, CLOCK_TOKENS:]


def _hands(digits: torch.Tensor) -> torch.Tensor:
    """`[…, 6]` digits of a clock → `[…, 2 · dials]`, where each dial's hand points."""
    seconds = (digits * torch.tensor(DIGIT_SECONDS)).sum(-1, keepdim=True)
    angles = seconds * (2 * torch.pi / torch.tensor(DIALS))
    return torch.cat([angles.cos(), angles.sin()], -1)


def _visual(of_tokens: torch.Tensor, p: Packed) -> torch.Tensor:
    """`[…, F·T]` → `[…, F·16]`: the clocks left out."""
    return of_tokens.unflatten(-1, (p.frames, p.frame_tokens))[..., CLOCK_TOKENS:].flatten(-2)
