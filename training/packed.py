"""The text model's forward over packed contexts: the same numbers as transformers' own, in a fraction of the time.

A context is `sink | frames | rows of questions`. A frame attends to the sink, itself and the few frames before it that
it follows without a break. A question attends to the sink, the frames it may see, and itself. Dense attention under one
mask would throw nine tenths of the scores away. Here each part computes only the scores it needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

WINDOW_FRAMES = 4


@dataclass
class Packed:
    """Where the tokens of `B` contexts stand, and which of them see which.

    Shapes: `S` sink tokens, `F` frames of `T` tokens, `R` rows of `W` question tokens, `N = S + F·T + R·W`.
    """

    sink: int
    frames: int
    frame_tokens: int
    rows: int
    row_tokens: int
    question_positions: Tensor  # [B, R, W], counted from the end of the frames
    question: Tensor  # [B, R, W], which question a token belongs to; -1 is padding
    seen: Tensor  # [B, R, W, F] bool, the frames that a question token may see
    places: Tensor  # [B, F], the place of each frame in the laid-out context; hidden ones share places with others
    follows: Tensor  # [B, F] bool, whether a frame comes right behind the one before it and so has seen it

    @property
    def end(self) -> int:
        """Where the questions begin."""
        return self.sink + self.frames * self.frame_tokens


class Masks:
    """The masks of a packed batch as additive biases, made once for all layers."""

    def __init__(self, p: Packed) -> None:
        tokens, span = p.frame_tokens, WINDOW_FRAMES + 1
        order = torch.arange(span * tokens)
        causal = order[None] <= WINDOW_FRAMES * tokens + torch.arange(tokens)[:, None]
        back = WINDOW_FRAMES - order // tokens  # [span], frames back
        allowed = causal & (back <= _unbroken(p.follows)[..., None])[:, :, None]  # [B, F, T, span]
        to_sink = torch.ones(*allowed.shape[:3], p.sink, dtype=torch.bool)
        self.frames = _bias(torch.cat([to_sink, allowed], -1))[:, None, None]  # [B, 1, 1, F, T, S + span]
        self.sink = _bias(torch.ones(p.sink, p.sink, dtype=torch.bool).tril())
        seen = p.seen.repeat_interleave(tokens, -1)
        seen = torch.cat([torch.ones(*seen.shape[:3], p.sink, dtype=torch.bool), seen], -1)
        width = p.row_tokens
        row = (p.question[..., :, None] == p.question[..., None, :]) & torch.ones(width, width).tril().bool()
        self.questions = _bias(seen).flatten(1, 2)[:, None, None]  # [B, 1, 1, R·W, S + F·T]
        self.rows = _bias(row)[:, None, None]  # [B, 1, 1, R, W, W]


def _unbroken(follows: Tensor) -> Tensor:
    """`[B, F]`: how many frames each one follows without a break."""
    counts = torch.zeros_like(follows, dtype=torch.long)
    for i in range(1, follows.shape[1]):
        counts[:, i] = torch.where(follows[:, i], counts[:, i - 1] + 1, 0)
    return counts


def _bias(allowed: Tensor) -> Tensor:
    return torch.zeros(allowed.shape, dtype=torch.bfloat16).masked_fill_(~allowed, -30_000.0)


def positions(p: Packed) -> Tensor:
    """`[B, N]`: consecutive over the sink and the places. Every question begins behind the last frame."""
    sink = torch.arange(p.sink).expand(len(p.places), -1)
    frames = p.sink + p.places[..., None] * p.frame_tokens + torch.arange(p.frame_tokens)
    end = p.sink + (p.places.amax(1, keepdim=True) + 1) * p.frame_tokens
    return torch.cat([sink, frames.flatten(1), end + p.question_positions.flatten(1)], 1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary on `[B, H, N, D]`."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def attend(q: Tensor, k: Tensor, v: Tensor, p: Packed, masks: Masks) -> tuple[Tensor, Tensor]:
    """Attention over queries `[B, Hk, G, N, D]`, keys and values `[B, Hk, N, D]`.

    Returns:
        `[B, Hk, G, N, D]`, and the weights of the question tokens `[B, Hk, G, R·W, S + F·T + W]`.
    """
    batch, kv_heads, groups, _, dim = q.shape
    q = q * dim**-0.5
    sink, end, tokens = p.sink, p.end, p.frame_tokens
    k_sink, v_sink = k[:, :, None, :sink], v[:, :, None, :sink]
    of_sink = (q[..., :sink, :] @ k_sink.mT + masks.sink).softmax(-1) @ v_sink

    # Frames: the sink, and a band of the frames before.
    q_frames = q[..., sink:end, :].unflatten(-2, (p.frames, tokens)).transpose(2, 3)  # [B, Hk, F, G, T, D]
    q_frames = q_frames.flatten(3, 4)
    k_band, v_band = (_band(x[:, :, sink:end], p) for x in (k, v))  # [B, Hk, F, span, D]
    shape = (batch, kv_heads, p.frames, -1, dim)
    k_band = torch.cat([k_sink.expand(shape), k_band], 3)
    v_band = torch.cat([v_sink.expand(shape), v_band], 3)
    scores = (q_frames @ k_band.mT).unflatten(3, (groups, tokens))
    weights = (scores + masks.frames[:, :, 0, :, None]).softmax(-1).flatten(3, 4)
    of_frames = (weights @ v_band).unflatten(3, (groups, tokens)).transpose(2, 3).flatten(3, 4)

    # Questions: sink and frames, and their own row.
    q_rows = q[..., end:, :]  # [B, Hk, G, R·W, D]
    rows = (p.rows, p.row_tokens)
    far = q_rows.flatten(2, 3) @ k[:, :, :end].mT
    far = far.unflatten(2, (groups, -1)) + masks.questions
    q_own = q_rows.unflatten(3, rows)
    k_own, v_own = (x[:, :, None, end:].unflatten(3, rows) for x in (k, v))
    near = (q_own @ k_own.mT + masks.rows).flatten(3, 4)
    weights = torch.cat([far, near], -1).softmax(-1)
    of_far = (weights[..., :end].flatten(2, 3) @ v[:, :, :end]).unflatten(2, (groups, -1))
    of_near = (weights[..., end:].unflatten(3, rows) @ v_own).flatten(3, 4)
    return torch.cat([of_sink, of_frames, of_far + of_near], 3), weights


def _band(x: Tensor, p: Packed) -> Tensor:
    """`[B, Hk, F·T, D]` → each frame with those before it, `[B, Hk, F, (window + 1)·T, D]`; before the first, zeros."""
    padded = functional.pad(x, (0, 0, WINDOW_FRAMES * p.frame_tokens, 0))
    frames = padded.unflatten(2, (p.frames + WINDOW_FRAMES, p.frame_tokens))
    return torch.cat([frames[:, :, i : i + p.frames] for i in range(WINDOW_FRAMES + 1)], 3)


def layer_forward(
    layer: Any, x: Tensor, cos: Tensor, sin: Tensor, p: Packed, masks: Masks
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One Qwen2 layer.

    Returns:
        hidden states, queries `[B, Hq, N, D]` and keys `[B, Hk, N, D]` before rotary, and the questions' weights.
    """
    attention = layer.self_attn
    dim = attention.head_dim
    normed = _norm(layer.input_layernorm, x)
    q, k, v = (
        projection(normed).unflatten(-1, (-1, dim)).transpose(1, 2)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    grouped = rotate(q, cos, sin).unflatten(1, (k.shape[1], -1))
    out, weights = attend(grouped, rotate(k, cos, sin), v, p, masks)
    x = x + attention.o_proj(out.flatten(1, 2).transpose(1, 2).flatten(2))
    mlp, normed = layer.mlp, _norm(layer.post_attention_layernorm, x)
    return x + mlp.down_proj(functional.silu(mlp.gate_proj(normed)) * mlp.up_proj(normed)), q, k, weights


def _norm(norm: Any, x: Tensor) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:], norm.weight.to(x.dtype), norm.variance_epsilon)
