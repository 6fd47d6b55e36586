"""The plain way: transformers' own forward, cache, mask and rotary, to hold ours against.

Keys and values are caught at the projections, before rotary, and a context is laid out by rotating them with the
model's own functions into a `DynamicCache`. Nothing of longwatch runs here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, LlavaOnevisionForConditionalGeneration

Part = tuple[list[Tensor], list[Tensor]]  # a layer's unrotated keys, and values: [1, H, T, D]


class PlainModel:
    """A checkpoint as transformers runs it, in float32 with eager attention."""

    def __init__(self, folder: str) -> None:
        self.model = LlavaOnevisionForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        self.text = self.model.model.language_model
        self._caught: dict[str, list[Tensor]] = {"k": [], "v": []}
        for layer in self.text.layers:
            layer.self_attn.k_proj.register_forward_hook(lambda _m, _i, out: self._caught["k"].append(out))
            layer.self_attn.v_proj.register_forward_hook(lambda _m, _i, out: self._caught["v"].append(out))

    @torch.inference_mode()
    def run(
        self, inputs: Tensor, parts: list[Part], gaps: Sequence[int] = (), stand: Sequence[Sequence[int]] = ()
    ) -> tuple[Tensor, Part]:
        """Logits `[T, vocabulary]` of inputs `[T, hidden]` behind the parts, and their KV.

        Everything stands at positions 0, 1, 2, …, but that before each part a gap of positions may be left; or at the
        positions given for each part and, last, for the inputs.
        """
        places = [torch.tensor(positions) for positions in stand] or _in_a_row([*parts], gaps, len(inputs))
        cache = self._lay_out(parts, places[:-1])
        self._caught["k"].clear()
        self._caught["v"].clear()
        positions = places[-1][None]
        hidden = self.text(inputs_embeds=inputs[None], position_ids=positions, past_key_values=cache).last_hidden_state
        heads = self.text.config.num_key_value_heads
        keys, values = ([x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in self._caught[n]] for n in "kv")
        return self.model.lm_head(hidden)[0], (keys, values)

    def embed(self, ids: list[int]) -> Tensor:
        """`[T, hidden]`."""
        embedded: Tensor = self.text.embed_tokens(torch.tensor(ids))
        return embedded

    def answer(self, ids: list[int], parts: list[Part], tokens: int) -> list[int]:
        """Greedy tokens behind a context, one whole forward each."""
        said: list[int] = []
        for _ in range(tokens):
            logits, _ = self.run(self.embed(ids + said), parts)
            said.append(int(logits[-1].argmax()))
        return said

    def _lay_out(self, parts: list[Part], places: list[Tensor]) -> DynamicCache:
        cache = DynamicCache()
        if not parts:
            return cache
        rotate = sys.modules[type(self.text).__module__].apply_rotary_pos_emb
        for layer in range(len(self.text.layers)):
            keys, values = (torch.cat([part[kind][layer] for part in parts], 2) for kind in (0, 1))
            cos, sin = self.text.rotary_emb(keys, torch.cat(places)[None])
            cache.update(rotate(keys, keys, cos, sin)[1], values, layer)
        return cache


def _in_a_row(parts: list[Part], gaps: Sequence[int], inputs: int) -> list[Tensor]:
    """The positions of each part and of the inputs behind them."""
    places, end = [], 0
    sizes = [*(keys[0].shape[2] for keys, _ in parts), inputs]
    for size, gap in zip(sizes, [*(gaps or [0] * len(parts)), 0], strict=True):
        places.append(torch.arange(size) + end + gap)
        end = int(places[-1][-1]) + 1
    return places
