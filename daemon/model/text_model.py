"""`TextModel`: a checkpoint's text model, run with every position 0: all of it, or some of its layers."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...memory.block import Geometry
from .attention import NAME, Layout
from .rotation import Rotation


class TextModel:
    """Transformers' text model with the attention of ours; see `attention.py`.

    Args:
        text: transformers' module. Its attention is replaced.

    Attributes:
        module: the same.
        geometry: layers, KV heads and head dim of its keys and values.
        query_heads: query heads of a layer.
        forward_seconds: time spent inside forwards so far, these and what else is `timed`.
    """

    def __init__(self, text: Any, device: torch.device) -> None:
        text.set_attn_implementation(NAME)
        self.module, self._device = text, device
        self.rotation = Rotation(text)
        config: Any = text.config
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.geometry = Geometry(config.num_hidden_layers, config.num_key_value_heads, head_dim)
        self.query_heads = int(config.num_attention_heads)
        self.forward_seconds = 0.0

    def embed(self, ids: Sequence[int] | Sequence[list[int]]) -> Tensor:
        """Token ids → `[…, hidden]`."""
        embedded: Tensor = self.module.embed_tokens(torch.tensor(ids, device=self._device))
        return embedded

    @torch.inference_mode()
    def run(self, inputs: Tensor, layout: Layout, first: int = 0, end: int | None = None) -> Tensor:
        """Runs inputs through the layers from the first to before the end.

        Returns:
            hidden states `[B, T, hidden]`. Behind the last layer they are normed, as the head wants them; before it
            they are what the next layer takes.
        """
        nowhere = torch.zeros(inputs.shape[:2], dtype=torch.long, device=self._device)
        with self.timed():
            hidden: Tensor = self._cut(first, self.geometry.layers if end is None else end)(
                inputs_embeds=inputs, position_ids=nowhere, use_cache=False, layout=layout
            ).last_hidden_state
        return hidden

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Counts what is done within as time inside a forward."""
        began = time.perf_counter()
        yield
        self.forward_seconds += time.perf_counter() - began

    def _cut(self, first: int, end: int) -> Any:
        """The text model with some of its layers only, on the same weights."""
        whole, layers = self.module, self.geometry.layers
        if (first, end) == (0, layers):
            return whole
        some = copy.copy(whole)
        some._modules = dict(whole._modules)  # or both would have the same layers
        some.layers = whole.layers[first:end]
        some.norm = whole.norm if end == layers else nn.Identity()
        some.config = copy.copy(whole.config)
        some.config.num_hidden_layers = end - first
        if getattr(whole.config, "layer_types", None):
            some.config.layer_types = whole.config.layer_types[first:end]
        return some
