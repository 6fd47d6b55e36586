"""The window: what stays, what slides out, and where it lies."""

from __future__ import annotations

import torch

from longwatch.memory.window import Window


def part(value: float, tokens: int) -> torch.Tensor:
    return torch.full((2, 1, tokens, 4), value)


def test_whole_blocks_slide_out_oldest_first_and_the_sink_stays() -> None:
    window = Window(part(-1, 3), part(-1, 3), window_tokens=10)
    out = [window.append(i, part(i, 4), part(i, 4)) for i in range(1, 6)]
    assert out == [[], [], [1], [2], [3]]
    assert window.keys[0, 0, :, 0].tolist() == [-1] * 3 + [4] * 4 + [5] * 4
    assert torch.equal(window.keys, window.values)


def test_blocks_of_other_lengths_keep_their_places() -> None:
    window = Window(part(-1, 1), part(-1, 1), window_tokens=9)
    for i, tokens in enumerate((4, 1, 4, 2), start=1):
        window.append(i, part(i, tokens), part(i, tokens))
    assert [(b.block_id, b.tokens) for b in window.blocks] == [(2, 1), (3, 4), (4, 2)]
    assert window.keys[1, 0, :, 0].tolist() == [-1, 2, 3, 3, 3, 3, 4, 4]


def test_a_block_larger_than_the_window_stands_alone() -> None:
    window = Window(part(-1, 2), part(-1, 2), window_tokens=5)
    window.append(1, part(1, 3), part(1, 3))
    assert window.append(2, part(2, 40), part(2, 40)) == [1]
    assert window.tokens == 40
    assert window.append(3, part(3, 5), part(3, 5)) == [2]
    assert window.keys[0, 0, :, 0].tolist() == [-1, -1, 3, 3, 3, 3, 3]
