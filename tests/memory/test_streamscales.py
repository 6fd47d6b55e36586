"""A stream's scales: when new blocks get them, and which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from longwatch.memory.partition import Partition
from longwatch.memory.rows import Entry
from longwatch.memory.scales import Scales
from longwatch.memory.streamscales import SCALED_ON, StreamScales

from .blocks import make_block


def test_scales_are_measured_on_the_first_blocks_of_video_and_stay() -> None:
    scales = StreamScales(lambda stream: [])
    line = replace(make_block(1000), gap=True)
    assert [scales.for_new("yard", line) for _ in range(SCALED_ON)] == [None] * SCALED_ON
    assert [scales.for_new("yard", make_block(n)) for n in range(1, SCALED_ON + 1)] == [None] * SCALED_ON
    measured = scales.for_new("yard", make_block(50))
    assert measured is not None
    assert measured.digest == Scales.of(make_block(n) for n in range(1, SCALED_ON + 1)).digest
    assert scales.for_new("yard", line) is scales.for_new("yard", make_block(51)) is measured
    assert scales.for_new("door", make_block(1)) is None
    assert scales.find("yard", measured.digest) is measured
    assert scales.find("door", measured.digest) is None


def test_scales_of_an_old_day_are_found_and_new_blocks_keep_theirs() -> None:
    scales = StreamScales(lambda stream: [])
    for number in range(1, SCALED_ON + 2):
        scales.for_new("yard", make_block(number))
    used = scales.for_new("yard", make_block(50))
    old = Scales.of([make_block(60)])
    scales.add_old("yard", old)
    assert scales.find("yard", old.digest) is old
    assert scales.for_new("yard", make_block(51)) is used


@pytest.fixture
def days(tmp_path: Path) -> list[Partition]:
    """Two days, each with scales of its own."""
    days = [Partition(tmp_path / "store" / "yard" / f"2026-03-0{number}", 1 << 24) for number in (1, 2)]
    for number, day in enumerate(days, 1):
        block = make_block(number)
        day.write([Entry(block.info, b"a record", block.signature, b"", Scales.of([block]))], {})
    return days


def test_after_a_restart_those_of_the_newest_day_are_used_and_all_are_found(days: list[Partition]) -> None:
    scales = StreamScales(lambda stream: days)
    newest = scales.for_new("yard", make_block(3))
    assert newest is not None
    assert newest.digest == Scales.of([make_block(2)]).digest
    assert scales.find("yard", Scales.of([make_block(1)]).digest) is not None
