"""What frames see when several go through the model at once: against the window, filled frame by frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from longwatch.daemon.model.footprint import Footprint, spread_positions
from longwatch.daemon.model.frame_layout import FramePlan, plan_frames
from longwatch.memory.block import Places
from longwatch.memory.window import Window

SINK = 3


def seen_by(plan: FramePlan, row: int) -> list[tuple[int, int]]:
    """The tokens that the last token of a row attends to, and where they stand."""
    seen = plan.mask[row, 0, -1]
    return list(zip(plan.gather[row, seen].tolist(), plan.positions[row, seen].tolist(), strict=True))


def draw_footprint(rng: np.random.Generator) -> Footprint:
    """Of one to six tokens, often with some left out."""
    tokens = int(rng.integers(1, 7))
    kept = [i for i in range(tokens) if rng.random() < 0.7] or [0]
    return Footprint(tokens) if len(kept) == tokens else Footprint(len(kept), Places(tuple(kept), tokens))


def number_tokens(first: int, tokens: int) -> torch.Tensor:
    """Keys whose values are the tokens' numbers, `[1, 1, T, 1]`."""
    return torch.arange(first, first + tokens).float()[None, None, :, None]


def test_the_plan_is_as_its_picture_shows() -> None:
    blocks = [Footprint(2, Places((0, 2), 3)), Footprint(2)]
    plan = plan_frames(1, blocks, frames=2, frame=Footprint(2), window_tokens=4)
    assert plan.gather.tolist() == [[0, 1, 2, 3, 4, 5, 6], [0, 3, 4, 5, 6, 7, 8]]
    assert plan.positions.tolist() == [[0, 1, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6]]
    causal = [[True] * 6 + [False], [True] * 7]
    assert plan.mask.squeeze(1).tolist() == [causal, causal]


def test_a_shorter_row_is_filled_up_on_its_left_and_its_filling_hidden() -> None:
    plan = plan_frames(1, [], frames=2, frame=Footprint(2), window_tokens=4)
    assert plan.gather.tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]]
    assert plan.mask[0, 0].tolist() == [[False, False, True, True, False], [False, False, True, True, True]]


@pytest.mark.parametrize("seed", range(20))
def test_each_frame_sees_what_the_window_would_hold_if_frames_came_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    window_tokens, frames, frame = int(rng.integers(0, 15)), int(rng.integers(1, 6)), draw_footprint(rng)
    window, end = Window(number_tokens(0, SINK), number_tokens(0, SINK), window_tokens), SINK
    for block_id in range(int(rng.integers(0, 5))):
        block = draw_footprint(rng)
        window.append(block_id, *[number_tokens(end, block.tokens)] * 2, block.places)
        end += block.tokens
    blocks = [Footprint(block.tokens, block.places) for block in window.blocks]
    plan = plan_frames(SINK, blocks, frames, frame, window_tokens)
    # The plan counts from the sink on and knows nothing of what has slid out before.
    slid_out = end - SINK - sum(block.tokens for block in blocks)
    for row in range(frames):
        own = number_tokens(end, frame.tokens)
        tokens = torch.cat([window.keys, own], 2).flatten().int().tolist()
        parts = [*(Footprint(block.tokens, block.places) for block in window.blocks), frame]
        positions = spread_positions([Footprint(SINK), *parts], recalled=0, spread_tokens=0).tolist()
        numbers = [token if token < SINK else token - slid_out for token in tokens]
        assert seen_by(plan, row) == list(zip(numbers, positions, strict=True))
        window.append(100 + row, own, own, frame.places)
        end += frame.tokens


def test_recalled_blocks_are_spread_evenly_and_thinned_ones_keep_their_gaps() -> None:
    parts = [Footprint(2), Footprint(2), Footprint(2, Places((0, 3), 4)), Footprint(1)]
    spread = spread_positions(parts, recalled=2, spread_tokens=12)  # 6 are taken: gaps of 2 before, between and behind
    assert spread.tolist() == [0, 1, 4, 5, 8, 11, 14]
    assert spread_positions(parts, recalled=2, spread_tokens=6).tolist() == [0, 1, 2, 3, 4, 7, 8]
    assert spread_positions(parts, recalled=0, spread_tokens=12).tolist() == [0, 1, 2, 3, 4, 7, 8]
