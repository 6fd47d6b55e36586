"""The packed forward that trains the embedded model is transformers' own forward."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from longwatch.yard.kinds import QUESTION_KINDS
from longwatch.yard.moment import gated_moments
from longwatch.yard.scene import Scene
from training.checkpoint import new_model
from training.contexts import FRAME_TOKENS, ContextMaker, Stream, find_stories
from training.packed import WINDOW_FRAMES, Masks, Packed, layer_forward, positions
from training.tokenizer import build


def dense_mask(p: Packed, i: int) -> Tensor:
    """`[N, N]`: who sees whom in context i, token by token, as its docstring says."""
    total = p.end + p.rows * p.row_tokens
    allowed = torch.zeros(total, total, dtype=torch.bool)
    question, seen = p.question[i].flatten(), p.seen[i].flatten(0, 1)
    frame = [-1] * p.sink + [f for f in range(p.frames) for _ in range(FRAME_TOKENS)]
    for a in range(total):
        for b in range(a + 1):
            if b < p.sink:
                allowed[a, b] = True
            elif a < p.end:
                between = p.follows[i, frame[b] + 1 : frame[a] + 1]
                allowed[a, b] = frame[b] >= 0 and len(between) <= WINDOW_FRAMES and bool(between.all())
            elif b < p.end:
                allowed[a, b] = seen[a - p.end, frame[b]]
            else:
                same_row = (a - p.end) // p.row_tokens == (b - p.end) // p.row_tokens
                allowed[a, b] = same_row and question[a - p.end] == question[b - p.end]
    return allowed


@pytest.mark.parametrize(("past", "recent", "hidden"), [(4, 3, 0), (2, 5, 0), (2, 2, 2)])
def test_packed_attention_is_attention_under_a_dense_mask(past: int, recent: int, hidden: int) -> None:
    torch.manual_seed(0)
    text = new_model().model.language_model.eval()
    moments = gated_moments(Scene(seed=1, busy=0.5), 400)
    stream = Stream(moments, torch.randn(len(moments), 16, 256), find_stories(moments))
    maker = ContextMaker([stream], build(), 3)
    b = maker.batch(3, past, recent, 2, hidden, dict.fromkeys(QUESTION_KINDS, 1.0))
    p = b.packed
    if not hidden:
        p.follows = torch.ones(3, past + recent, dtype=torch.bool)
        p.follows[1], p.follows[2, 2] = False, False
    x = torch.randn(3, p.end + p.rows * p.row_tokens, 256) / 16
    dense = torch.stack([dense_mask(p, i) for i in range(3)])[:, None]
    with torch.inference_mode():
        plain = text(
            inputs_embeds=x, attention_mask=dense, position_ids=positions(p), use_cache=False
        ).last_hidden_state
        cos, sin = (part[:, None] for part in text.rotary_emb(x, positions(p)))
        masks = Masks(p)
        for name in ("frames", "sink", "questions", "rows"):
            setattr(masks, name, getattr(masks, name).float())
        for layer in text.layers:
            x, *_ = layer_forward(layer, x, cos, sin, p, masks)
        fast = text.norm(x)
    told = torch.cat([torch.ones(3, p.end, dtype=torch.bool), p.question.flatten(1) >= 0], 1)
    assert np.abs((fast - plain)[told].numpy()).max() < 1e-4
