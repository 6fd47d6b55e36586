"""The window: what stays, what slides out, and where it lies."""

from __future__ import annotations

import random

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


def test_after_a_long_walk_the_window_equals_the_sink_and_its_newest_blocks_joined() -> None:
    """Blocks of random lengths, some larger than the window, some forgotten, against joining everything anew."""
    walk = random.Random(4)
    sink, window = part(-1.0, 3), Window(part(-1.0, 3), part(-2.0, 3), window_tokens=20)
    plain: list[tuple[int, torch.Tensor]] = []
    for block_id in range(300):
        new = torch.randn(2, 1, walk.choice([1, 2, 5, 7, 7, 7, 26]), 4)
        out = window.append(block_id, new, new)
        plain.append((block_id, new))
        while len(plain) > 1 and sum(block.shape[2] for _, block in plain) > 20:
            assert out.pop(0) == plain.pop(0)[0]
        assert not out
        if walk.random() < 0.3:
            gone = {number for number, _ in plain if walk.random() < 0.4}
            window.forget(gone)
            plain = [(number, block) for number, block in plain if number not in gone]
            assert [block.block_id for block in window.blocks] == [number for number, _ in plain]
        assert torch.equal(window.keys, torch.cat([sink, *(block for _, block in plain)], 2))
        assert window.tokens == window.keys.shape[2] - 3
    assert torch.equal(window.values[:, :, :3], part(-2.0, 3))
