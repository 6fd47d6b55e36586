"""How the text model starts: with silent layers, and heads that look things up.

Every layer's output projections start at zero, so that the upper layers first see the words themselves and not noise.
In the middle layers two heads start as look-ups, which attend to tokens like their own and copy them. A visual token is
the sum of its words (`red + car`). So a head with equal query and key projections finds the car from the word "car",
and an output projection that undoes the value projection brings "red" back. Training finds this circuit by itself too,
but takes half an hour for it.
"""

from __future__ import annotations

import torch
from transformers import LlavaOnevisionForConditionalGeneration

PLANTED_LAYERS, PLANTED_HEADS = (1, 2, 3, 4), ((0, 0), (2, 1))  # (query head, its KV head)


@torch.no_grad()
def plant(model: LlavaOnevisionForConditionalGeneration) -> None:
    """Changes a fresh text model in place."""
    layers = model.model.language_model.layers
    dim = layers[0].self_attn.head_dim
    for layer in layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    for n in PLANTED_LAYERS:
        attention = layers[n].self_attn
        for head, kv_head in PLANTED_HEADS:
            own, shared = (slice(i * dim, i * dim + dim) for i in (head, kv_head))
            attention.q_proj.weight[own] = 1.5 * attention.k_proj.weight[shared]
            attention.o_proj.weight[:, own] = 0.3 * attention.v_proj.weight[shared].T
