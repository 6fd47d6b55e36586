"""One stream's blocks: kept and found together, brought back at the start, and put into the window."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from longwatch.daemon.stream.stream_memory import StreamMemory
from longwatch.memory.window import Window

from ..memory.blocks import MORNING_NS, make_block
from .conftest import remembering

SECOND_NS = 1_000_000_000
TOKENS = 5  # of each block


def empty_window(blocks: int) -> Window:
    """Room for so many blocks."""
    sink = torch.zeros(2, 2, 1, 8).bfloat16()
    return Window(sink, sink, blocks * TOKENS)


def in_window(window: Window) -> list[int]:
    return [block.block_id for block in window.blocks]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store that holds blocks 1 to 6."""
    with remembering(tmp_path) as memory:
        for number in range(1, 7):
            memory.add(make_block(number))
    return tmp_path


def test_a_start_finds_every_block_and_fills_the_window_with_the_newest(folder: Path) -> None:
    with remembering(folder) as memory:
        assert [info.block_id for info in memory.retriever.index.infos()] == [1, 2, 3, 4, 5, 6]
        assert memory.last == make_block(6).info
        window = empty_window(3)
        memory.fill(window)
        assert in_window(window) == [4, 5, 6]
        assert torch.equal(window.keys[:, :, 1:], torch.cat([make_block(number).keys for number in (4, 5, 6)], 2))


def test_the_newest_block_stands_in_the_window_even_if_it_is_too_large(folder: Path) -> None:
    with remembering(folder) as memory:
        window = empty_window(0)
        memory.fill(window)
        assert in_window(window) == [6]


def test_a_damaged_block_is_left_out_of_window_and_index_and_an_older_one_takes_its_place(folder: Path) -> None:
    (data,) = folder.glob("yard/*/data.mdb")
    content = data.read_bytes()
    damaged = make_block(5).keys.view(torch.int16).numpy().tobytes()[:32]
    assert damaged in content
    data.write_bytes(content.replace(damaged, bytes(byte ^ 1 for byte in damaged)))
    with remembering(folder) as memory:
        window = empty_window(2)
        memory.fill(window)
        assert in_window(window) == [4, 6]
        assert [info.block_id for info in memory.retriever.index.infos()] == [1, 2, 3, 4, 6]


def test_a_scene_extends_the_newest_block_and_never_shortens_it_or_a_gap(memory: StreamMemory) -> None:
    memory.extend_scene(MORNING_NS)
    assert memory.last is None, "there is nothing to extend"
    memory.add(make_block(1))
    for end_ns in (MORNING_NS + 9 * SECOND_NS, MORNING_NS + 4 * SECOND_NS):
        memory.extend_scene(end_ns)
        assert memory.last is not None
        assert memory.last.end_ns == MORNING_NS + 9 * SECOND_NS
    assert not memory.extend_gap(MORNING_NS + 9 * SECOND_NS, MORNING_NS + 20 * SECOND_NS), "it is no gap"
    memory.add(replace(make_block(10), gap=True))
    memory.extend_scene(MORNING_NS + 30 * SECOND_NS)
    assert memory.last.end_ns == MORNING_NS + 10 * SECOND_NS
    assert not memory.extend_gap(MORNING_NS + 11 * SECOND_NS, MORNING_NS + 20 * SECOND_NS), "it begins later"
    assert memory.extend_gap(MORNING_NS + 10 * SECOND_NS, MORNING_NS + 20 * SECOND_NS)
    ends = [(info.end_ns - MORNING_NS) // SECOND_NS for info in memory.retriever.index.infos()]
    assert ends == [9, 20]


def test_what_was_extended_is_so_after_a_restart(folder: Path) -> None:
    with remembering(folder) as memory:
        memory.extend_scene(MORNING_NS + 60 * SECOND_NS)
    with remembering(folder) as memory:
        assert memory.last is not None
        assert memory.last.end_ns == MORNING_NS + 60 * SECOND_NS


def test_a_forgotten_block_is_not_extended_nor_is_the_one_before_it(folder: Path) -> None:
    with remembering(folder) as memory:
        memory.forget({6})
        assert memory.last is None
        memory.extend_scene(MORNING_NS + 60 * SECOND_NS)
        assert [info.end_ns for info in memory.retriever.index.newest(1)] == [make_block(5).end_ns]
        memory.find_last()
        assert memory.last == make_block(5).info


def test_a_block_that_cannot_be_packed_is_neither_kept_nor_found(memory: StreamMemory) -> None:
    memory.add(make_block(1))
    wrong = make_block(2)
    with pytest.raises(Exception, match="int8"):
        memory.add(replace(wrong, keys=wrong.keys.to(torch.int8), values=wrong.values.to(torch.int8)))
    assert memory.last == make_block(1).info
    assert len(memory.retriever.index) == 1
