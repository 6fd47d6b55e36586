"""`Context`: what stands before a question, rotated once, and what is prefilled and decoded behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .attention import Layout
from .rotation import Rotation


class GrowingLayout(Layout, Protocol):
    """A layout that keeps what is prefilled and decoded behind it."""

    def begin(self, tokens: int) -> None:
        """Prepares a forward of so many new tokens."""

    def finish(self) -> None:
        """Makes the forward's tokens part of the context."""


class Context:
    """A laid-out context: rotated once, and extended by what is prefilled and decoded.

    Args:
        keys, values: `[L, H, C, D]`, keys before rotary.
        positions: `[C]`, rising. New tokens stand right behind the last.
        room: tokens that may be added before the buffers grow.
    """

    def __init__(self, rotation: Rotation, keys: Tensor, values: Tensor, positions: Tensor, room: int) -> None:
        layers, heads, tokens, dim = keys.shape
        self._rotation, self.tokens = rotation, tokens
        self._keys, self._values = (x.new_empty(layers, heads, tokens + room, dim) for x in (keys, values))
        self._empty = int(positions[-1]) + 1 - tokens if tokens else 0  # positions where no token stands
        angles = rotation.angles(positions[None], keys)
        for layer in range(layers):  # one at a time: turning takes twice as much memory again
            self._keys[layer, :, :tokens] = rotation.turn(keys[layer : layer + 1], angles)[0]
        self._values[:, :, :tokens] = values
        self._angles: tuple[Tensor, Tensor] | None = None
        self._mask: Tensor | None = None
        self._pending = 0
        self.queries: dict[int, Tensor] = {}  # a layer's last queries [Hq, T, D], unrotated
        self._watched: Mapping[int, Sequence[int]] = {}
        self._attended = keys.new_zeros(tokens, dtype=torch.float32)

    def watch(self, heads: Mapping[int, Sequence[int]]) -> None:
        """From now on adds up what these query heads, by layer, attend to; see `attended`."""
        self._watched = heads

    def attended(self, tokens: int) -> Tensor:
        """The attention that each of the first so many tokens got, `[tokens]` float32.

        It comes from the question's last token and from each token of the answer after it: these decide the answer.
        """
        return self._attended[:tokens]

    def begin(self, tokens: int) -> None:
        """Prepares a forward of so many new tokens: their angles, mask and room."""
        positions = torch.arange(self.tokens, self.tokens + tokens, device=self._keys.device)
        self._angles = self._rotation.angles(positions[None] + self._empty, self._keys)
        seen = torch.arange(self.tokens + tokens, device=self._keys.device)
        self._mask = None if tokens == 1 else seen[None] <= positions[:, None]
        self._pending = tokens
        if tokens > 1:  # the next chunk of a question: what the chunks before it attended to does not count
            self._attended.zero_()
        if self.tokens + tokens > self._keys.shape[2]:
            more = max(tokens, self._keys.shape[2])
            self._keys, self._values = (
                torch.cat([x, x.new_empty(*x.shape[:2], more, x.shape[3])], 2) for x in (self._keys, self._values)
            )

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """See `Layout.attend`; B is 1."""
        assert self._angles is not None, "begin() must come first"
        assert key.shape[2] == self._pending, f"{key.shape[2]} tokens came where {self._pending} were announced"
        self.queries[layer] = query[0]
        end = self.tokens + self._pending
        self._keys[layer, :, self.tokens : end] = self._rotation.turn(key, self._angles)[0]
        self._values[layer, :, self.tokens : end] = value[0]
        seen_keys, seen_values = self._keys[layer, None, :, :end], self._values[layer, None, :, :end]
        turned = self._rotation.turn(query, self._angles)
        if layer in self._watched:
            self._note_attention(turned[0, :, -1], seen_keys[0], self._watched[layer], scaling)
        if self._mask is None:
            # One token: the query heads that share a KV head stand as its rows, and no key is copied for them. That
            # takes a sixth off a bfloat16 step on a CPU.
            grouped = turned.reshape(1, key.shape[1], -1, key.shape[3])
            return scaled_dot_product_attention(grouped, seen_keys, seen_values, scale=scaling).reshape(query.shape)
        return scaled_dot_product_attention(
            turned, seen_keys, seen_values, attn_mask=self._mask, scale=scaling, enable_gqa=True
        )

    def _note_attention(self, query: Tensor, keys: Tensor, heads: Sequence[int], scaling: float) -> None:
        """Adds a token's attention: query `[Hq, D]`, keys `[H, C, D]`, both rotated.

        Fused attention returns no weights. So they are computed once more, for the watched heads and one token only.
        """
        group = query.shape[0] // keys.shape[0]
        of_heads = keys[[head // group for head in heads]].float()
        paid = (of_heads @ query[list(heads), :, None].float() * scaling).softmax(1).sum((0, 2))
        self._attended += paid[: len(self._attended)]

    def finish(self) -> None:
        """Makes the forward's tokens part of the context."""
        self.tokens += self._pending
        self._pending = 0

    def rewind(self, tokens: int) -> None:
        """Forgets everything behind the first so many tokens, so that another question can stand there."""
        assert tokens <= self.tokens, f"cannot rewind to {tokens} of {self.tokens} tokens"
        self.tokens = tokens
