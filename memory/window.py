"""`Window`: the sink and the newest blocks' keys and values on the device."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor


class WindowBlock(NamedTuple):
    """A block in the window and where its tokens lie."""

    block_id: int
    tokens: int


class Window:
    """Sink and newest whole blocks, oldest first, in one buffer a kind that never grows.

    Args:
        sink_keys, sink_values: `[L, H, S, D]`, keys before rotary; never dropped.
        window_tokens: what the blocks may hold together; the newest block is kept even where it alone is more.
    """

    def __init__(self, sink_keys: Tensor, sink_values: Tensor, window_tokens: int) -> None:
        self.window_tokens = window_tokens
        self.sink_tokens = sink_keys.shape[2]
        self.blocks: deque[WindowBlock] = deque()
        self._used = self.sink_tokens
        self._buffers = [self._reserve(sink, 2 * window_tokens) for sink in (sink_keys, sink_values)]

    @property
    def keys(self) -> Tensor:
        """`[L, H, S + W, D]`: the sink, then the blocks in order. A view: valid until the next append."""
        return self._buffers[0][:, :, : self._used]

    @property
    def values(self) -> Tensor:
        """As `keys`."""
        return self._buffers[1][:, :, : self._used]

    @property
    def tokens(self) -> int:
        """Tokens of the blocks, the sink not counted."""
        return self._used - self.sink_tokens

    def append(self, block_id: int, keys: Tensor, values: Tensor) -> list[int]:
        """Takes the newest block `[L, H, T, D]` in. Returns the ids of those that slid out."""
        tokens = keys.shape[2]
        slid_out = []
        room = max(self.window_tokens - tokens, 0)
        left = self.tokens
        while self.blocks and left > room:
            old = self.blocks.popleft()
            left -= old.tokens
            slid_out.append(old.block_id)
        self._shift(self.tokens - left)
        if self._used + tokens > self._buffers[0].shape[2]:
            self._buffers = [self._reserve(buffer[:, :, : self._used], 2 * tokens) for buffer in self._buffers]
        for buffer, new in zip(self._buffers, (keys, values), strict=True):
            buffer[:, :, self._used : self._used + tokens] = new
        self._used += tokens
        self.blocks.append(WindowBlock(block_id, tokens))
        return slid_out

    def _shift(self, tokens: int) -> None:
        """Closes the hole that `tokens` tokens left behind the sink."""
        if not tokens:
            return
        for buffer in self._buffers:
            kept = buffer[:, :, self.sink_tokens + tokens : self._used].clone()
            buffer[:, :, self.sink_tokens : self._used - tokens] = kept
        self._used -= tokens

    def _reserve(self, filled: Tensor, more: int) -> Tensor:
        layers, heads, used, dim = filled.shape
        buffer = torch.empty(layers, heads, used + more, dim, dtype=filled.dtype, device=filled.device)
        buffer[:, :, :used] = filled
        return buffer
