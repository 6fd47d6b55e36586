"""`Window`: the sink and the newest blocks' keys and values on the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .block import Places


class WindowBlock(NamedTuple):
    """A block in the window, how many tokens it has, and where they stand if some were left out."""

    block_id: int
    tokens: int
    places: Places | None


class WindowPart(NamedTuple):
    """A block's keys and values `[L, H, T, D]`: views, valid until the window's next append."""

    block_id: int
    keys: Tensor
    values: Tensor
    places: Places | None


class Window:
    """The sink and the newest whole blocks, oldest first, in one buffer for keys and one for values.

    When blocks slide out, the sink moves up to those that stay. Only at the buffer's end does everything move back to
    its front, so a frame costs a copy of its own tokens and not of the whole window's. A buffer grows only for a block
    that does not fit into it.

        |sink|b1|b2|b3|          |    →    |  |sink|b2|b3|b4|      |    →    |sink|b6|b7|b8|          |

    Args:
        sink_keys, sink_values: `[L, H, S, D]`, keys before rotary; never dropped.
        window_tokens: what the blocks may hold together; the newest block is kept even if it alone is larger.
    """

    def __init__(self, sink_keys: Tensor, sink_values: Tensor, window_tokens: int) -> None:
        self.window_tokens = window_tokens
        self.sink_tokens = sink_keys.shape[2]
        self.blocks: deque[WindowBlock] = deque()
        self._sinks = (sink_keys, sink_values)
        self._first, self._end = 0, self.sink_tokens
        self._buffers = [self._reserve(sink, 2 * window_tokens) for sink in self._sinks]

    @property
    def keys(self) -> Tensor:
        """`[L, H, S + W, D]`: the sink, then the blocks in order. A view: valid until the next append."""
        return self._buffers[0][:, :, self._first : self._end]

    @property
    def values(self) -> Tensor:
        """As `keys`."""
        return self._buffers[1][:, :, self._first : self._end]

    @property
    def tokens(self) -> int:
        """Tokens of the blocks, the sink not counted."""
        return self._end - self._first - self.sink_tokens

    @property
    def sink(self) -> tuple[Tensor, Tensor]:
        """The sink's keys and values `[L, H, S, D]`."""
        return self._sinks

    def parts(self) -> Iterator[WindowPart]:
        """Each block, oldest first."""
        sizes = [self.sink_tokens, *(block.tokens for block in self.blocks)]
        _, *keys = torch.split(self.keys, sizes, 2)
        _, *values = torch.split(self.values, sizes, 2)
        for block, of_keys, of_values in zip(self.blocks, keys, values, strict=True):
            yield WindowPart(block.block_id, of_keys, of_values, block.places)

    def append(self, block_id: int, keys: Tensor, values: Tensor, places: Places | None = None) -> list[int]:
        """Adds the newest block `[L, H, T, D]`. Returns the ids of those that slid out."""
        tokens = keys.shape[2]
        slid_out = []
        room = max(self.window_tokens - tokens, 0)
        left = self.tokens
        while self.blocks and left > room:
            old = self.blocks.popleft()
            left -= old.tokens
            slid_out.append(old.block_id)
        self._drop(self.tokens - left)
        self._make_room(tokens)
        for buffer, new in zip(self._buffers, (keys, values), strict=True):
            buffer[:, :, self._end : self._end + tokens] = new
        self._end += tokens
        self.blocks.append(WindowBlock(block_id, tokens, places))
        return slid_out

    def forget(self, block_ids: Collection[int]) -> None:
        """Removes blocks; those that stay close the gaps, in the same buffer."""
        end, stays = self._first + self.sink_tokens, deque[WindowBlock]()
        for part in list(self.parts()):
            if part.block_id in block_ids:
                continue
            tokens = part.keys.shape[2]
            for buffer, kept in zip(self._buffers, (part.keys, part.values), strict=True):
                buffer[:, :, end : end + tokens] = kept.clone()  # it may overlap its own new place
            end += tokens
            stays.append(WindowBlock(part.block_id, tokens, part.places))
        self.blocks, self._end = stays, end

    def _drop(self, tokens: int) -> None:
        """Moves the sink up over the oldest `tokens` tokens."""
        if not tokens:
            return
        self._first += tokens
        for buffer, sink in zip(self._buffers, self._sinks, strict=True):
            buffer[:, :, self._first : self._first + self.sink_tokens] = sink

    def _make_room(self, tokens: int) -> None:
        """Makes sure that `tokens` tokens fit behind the newest block."""
        capacity = self._buffers[0].shape[2]
        if self._end + tokens <= capacity:
            return
        if self._end - self._first + tokens > capacity:
            self._buffers = [self._reserve(kept, 2 * tokens) for kept in (self.keys, self.values)]
        else:
            for buffer, kept in zip(self._buffers, (self.keys.clone(), self.values.clone()), strict=True):
                buffer[:, :, : kept.shape[2]] = kept
        self._first, self._end = 0, self._end - self._first

    def _reserve(self, filled: Tensor, more: int) -> Tensor:
        layers, heads, used, dim = filled.shape
        buffer = torch.empty(layers, heads, used + more, dim, dtype=filled.dtype, device=filled.device)
        buffer[:, :, :used] = filled
        return buffer
