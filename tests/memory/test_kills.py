"""A process that writes and forgets is killed again and again: what it called durable is there, bit for bit."""

from __future__ import annotations

import importlib
import multiprocessing
import random
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from .blocks import make_block
from .writer import Report, open_store

KILLS = 15
ROOT = Path(__file__).parents[2]


def all_said(pipe: Connection[Any, Any]) -> list[Report]:
    """What a process had said when it died; the last word may be cut off."""
    said = []
    try:
        while True:
            said.append(pipe.recv())
    except (EOFError, OSError):
        return said


def ids(said: list[Report], what: str) -> set[int]:
    return {block_id for word in said if word.what == what for block_id in word.block_ids}


def live(folder: Path, seed: int) -> list[Report]:
    """A life of the writer, to SIGKILL at any moment, or in every other one to a moment after it began to forget.

    Returns:
        what it said.
    """
    rng = random.Random(seed)
    processes = multiprocessing.get_context("forkserver")  # which loads torch once, and not for each life
    processes.set_forkserver_preload(["tests.memory.writer"])
    ours, theirs = processes.Pipe(duplex=False)
    write_for_ever = importlib.import_module("tests.memory.writer").write_for_ever
    writer = processes.Process(target=write_for_ever, args=(folder, theirs, seed))
    writer.start()
    theirs.close()
    try:
        said = [ours.recv()]
        while seed % 2 and said[-1].what != "forgetting":
            said.append(ours.recv())
        time.sleep(rng.uniform(0, 0.03 if seed % 2 else 0.3))
    finally:
        writer.kill()
        writer.join()
    with ours:
        return [*said, *all_said(ours)]


@pytest.mark.slow
def test_what_was_called_durable_survives_any_kill_and_what_was_forgotten_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forgetting that was cut short has taken all of its blocks or none."""
    monkeypatch.syspath_prepend(ROOT)  # where the writer's process finds its code
    durable: set[int] = set()
    forgotten: set[int] = set()
    cut_short = 0
    for seed in range(KILLS):
        said = live(tmp_path, seed)
        durable |= ids(said, "durable")
        forgotten |= ids(said, "forgotten")
        under_way = ids(said, "forgetting") - forgotten
        cut_short += bool(under_way)
        store, tiers = open_store(tmp_path)
        assert not store.broken
        there = {info.block_id for info in store.infos("yard")}
        assert under_way <= there or under_way.isdisjoint(there)
        forgotten |= under_way - there
        durable -= forgotten
        assert durable <= there
        assert forgotten.isdisjoint(there)
        for word in said:
            for block in tiers.fetch("yard", sorted(durable.intersection(word.block_ids))):
                assert torch.equal(block.keys, make_block(block.block_id).keys)
        if seed == KILLS - 1:
            for block in tiers.fetch("yard", sorted(there)):
                assert torch.equal(block.values, make_block(block.block_id).values)
        store.close()
    assert len(durable) > KILLS
    assert forgotten
    assert cut_short, "no forgetting was cut short"
