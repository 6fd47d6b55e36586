"""`FrameLayout`: what each of several frames sees when they go through the text model at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .footprint import Footprint
from .rotation import Rotation


class FrameLayout:
    """n frames as n rows, each seeing `sink | the newest whole blocks before it | itself`, at positions from 0 on.

    Earlier rows of the same forward are blocks for the later ones, so any chunk size gives the same keys.

        row 0   sink | w0 w1 w2 | f0
        row 1   sink |    w1 w2 f0 | f1

    Args:
        keys, values: the window's `[L, H, S + W, D]`, keys before rotary.
        sink_tokens: S.
        blocks: the footprints of the blocks in the window, oldest first; together W tokens.
        frames, frame: n, and the footprint of each of them, with T tokens.
        window_tokens: how many tokens the blocks before a frame may hold together.
    """

    def __init__(
        self,
        rotation: Rotation,
        keys: Tensor,
        values: Tensor,
        *,
        sink_tokens: int,
        blocks: Sequence[Footprint],
        frames: int,
        frame: Footprint,
        window_tokens: int,
    ) -> None:
        self._rotation, self._context = rotation, (keys, values)
        plan = plan_frames(sink_tokens, blocks, frames, frame, window_tokens)
        self._gather, positions, self._mask = (x.to(keys.device) for x in plan)
        self._key_angles = rotation.angles(positions, keys)
        self._query_angles = (self._key_angles[0][:, -frame.tokens :], self._key_angles[1][:, -frame.tokens :])
        self.keys: list[Tensor] = []  # a layer's [n, H, T, D], before rotary
        self.values: list[Tensor] = []

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """See `Layout.attend`; keeps the layer's keys and values."""
        self.keys.append(key)
        self.values.append(value)
        seen_keys = self._gather_seen(self._context[0][layer], key)
        seen_values = self._gather_seen(self._context[1][layer], value)
        return scaled_dot_product_attention(
            self._rotation.turn(query, self._query_angles),
            self._rotation.turn(seen_keys, self._key_angles),
            seen_values,
            attn_mask=self._mask,
            scale=scaling,
            enable_gqa=True,
        )

    def _gather_seen(self, context: Tensor, new: Tensor) -> Tensor:
        """`[n, H, K, D]`: for each row, what it sees of the context `[H, C, D]` and of all rows' new tokens."""
        everything = torch.cat([context, new.transpose(0, 1).flatten(1, 2)], 1)
        return everything[:, self._gather].transpose(0, 1)


class FramePlan(NamedTuple):
    """What n rows see of `context + chunk`: the window's tokens, and behind them all rows' own.

    Attributes:
        gather: the numbers of the tokens that each row sees, `[n, K]`.
        positions: where these stand for that row, `[n, K]`.
        mask: which of them each of the row's own T tokens attends to, bool `[n, 1, T, K]`.
    """

    gather: Tensor
    positions: Tensor
    mask: Tensor


def plan_frames(
    sink_tokens: int, blocks: Sequence[Footprint], frames: int, frame: Footprint, window_tokens: int
) -> FramePlan:
    """Plans one forward of several frames.

    Here a window of 4 tokens holds the blocks a and b behind the sink s, and the frames f and g come at once. Each
    has 2 tokens, but a was thinned from 3, so that it takes 3 positions:

        context + chunk    s  a0 a2  b0 b1  f0 f1  g0 g1
        token              0   1  2   3  4   5  6   7  8
        in one line        0   1  3   4  5   6  7   8  9     positions, if one row saw everything

        row f   gather     0   1  2   3  4   5  6            s  a b | f
                positions  0   1  3   4  5   6  7
        row g   gather     0   3  4   5  6   7  8            s  b f | g     a has left the window
                positions  0   1  2   3  4   5  6            b0 moves up to stand behind the sink

    All rows are as long as the longest. A shorter one is filled up on its left with token 0 at position 0, which the
    mask hides, so that every row ends with its own T tokens. Among these the mask is causal.
    """
    behind = [*blocks, *[frame] * frames]  # everything behind the sink, in order
    sizes = [block.tokens for block in behind]
    starts = torch.tensor([0, *sizes]).cumsum(0) + sink_tokens  # each one's first token
    begins = torch.tensor([0, *(block.extent for block in behind)]).cumsum(0)  # its first position in one line
    in_line = torch.cat([begin + block.positions for begin, block in zip(begins, behind, strict=False)]) + sink_tokens
    in_line = torch.cat([torch.arange(sink_tokens), in_line])
    sink, gather, positions = torch.arange(sink_tokens), [], []
    for own in range(len(blocks), len(behind)):
        first = _first_seen(sizes[:own], window_tokens)
        seen = torch.arange(int(starts[first]), int(starts[own + 1]))
        gather.append(torch.cat([sink, seen]))
        positions.append(torch.cat([sink, in_line[seen] - begins[first]]))
    mask = _mask_rows([len(row) for row in gather], frame.tokens)
    return FramePlan(_align_right(gather), _align_right(positions), mask)


def _first_seen(sizes: Sequence[int], window_tokens: int) -> int:
    """The number of the oldest block that is still in the window, of blocks with so many tokens.

    The newest one is always seen, as `Window` keeps it too, even where it alone is larger than the window.
    """
    first, room = len(sizes), window_tokens
    while first > 0 and (sizes[first - 1] <= room or first == len(sizes)):
        first -= 1
        room -= sizes[first]
    return first


def _align_right(rows: Sequence[Tensor]) -> Tensor:
    """Rows of different lengths as one `[n, K]`, with zeros on the left of the shorter ones."""
    longest = max(len(row) for row in rows)
    return torch.stack([torch.cat([row.new_zeros(longest - len(row)), row]) for row in rows])


def _mask_rows(lengths: Sequence[int], own: int) -> Tensor:
    """`[n, 1, T, K]`: hides what fills a row up, and from each of its own T last tokens those behind it."""
    longest = max(lengths)
    order = torch.arange(longest)
    real = order[None] >= longest - torch.tensor(lengths)[:, None]
    causal = order[None] <= torch.arange(longest - own, longest)[:, None]
    return (real[:, None] & causal[None])[:, None]
