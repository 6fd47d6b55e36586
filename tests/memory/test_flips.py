"""A byte of a day's file is flipped, at every 1,000th place in turn: it is found, or it lay where nothing is kept."""

from __future__ import annotations

import importlib
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest

from longwatch.memory.errors import BlockNotFound, BrokenFile, CorruptBlock, StorageError
from longwatch.memory.examine import find_damage
from longwatch.memory.partition import Partition
from longwatch.memory.record import read_record
from longwatch.memory.rows import Entry

from .blocks import forget, make_block
from .writer import FINGERPRINT, open_store

ROOT = Path(__file__).parents[2]
EVERY = 1000
PROCESSES = 4
MAP_BYTES = 1 << 28
Values = dict[tuple[str, int], Any]


def refused(digest: bytes) -> Any:
    raise AssertionError("raw blocks have no scales")


def check(value: bytes) -> None:
    read_record(value, bytes.fromhex(FINGERPRINT)[:16], "it", refused).unpack()


def values_of(day: Partition, block_ids: list[int]) -> Values:
    """Every value of some blocks, or the error in its place."""
    found: Values = {}
    for block_id in block_ids:
        for name, read in (("record", day.blocks.record), ("info", day.blocks.info), ("picture", day.blocks.picture)):
            try:
                found[name, block_id] = read(block_id)
                if name == "record":
                    check(found[name, block_id])
            except (CorruptBlock, BlockNotFound) as exc:
                found[name, block_id] = exc
    for info, signature in day.blocks.signatures(lambda block_id, exc: None):
        found["signature", info.block_id] = signature.numpy().tobytes()
    return found


def judge(day: Partition, truth: Values) -> str:
    """`found` where an error or the doctor tells of damage, `harmless` where there is none, else what is wrong."""
    damage = find_damage(day, check)
    found = values_of(day, [block_id for name, block_id in truth if name == "info"])
    bad = {key for key in truth.keys() | found.keys() if isinstance(found.get(key), StorageError) or key not in found}
    wrong = {key for key in found.keys() - bad if found[key] != truth.get(key)}
    lost = {(name, block_id) for name, block_id in wrong if name == "picture" and not found[name, block_id]}
    if wrong - lost or (lost and not damage):
        return f"wrong: {sorted(wrong)}"
    return "found" if bad or damage else "harmless"


def flip_and_read(folder: Path, places: list[int], truth: Values, pipe: Any) -> None:
    """The process: tells for each place what came of a flip there, also after one more commit."""
    whole = (folder / "data.mdb").read_bytes()
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place // EVERY % 8
        (folder / "data.mdb").write_bytes(flipped)
        try:
            day = Partition(folder, MAP_BYTES)
        except BrokenFile:
            pipe.send((place, "found"))
            continue
        outcome = judge(day, truth)
        new = make_block(1000)
        day.write([Entry(new.info, truth["record", 1], new.signature, b"")], {1: 5})
        values = {**truth, ("record", 1000): truth["record", 1], ("info", 1000): new.info, ("picture", 1000): b""}
        values["info", 1] = values["info", 1]._replace(end_ns=5)
        values["signature", 1000] = new.signature.numpy().tobytes()
        later = judge(day, values)
        day.file.close()
        pipe.send((place, later if later.startswith("wrong") else outcome))


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """A day with what a day can have: large and small values, several commits, forgotten blocks, free pages."""
    store, tiers = open_store(tmp_path / "store")
    for number in range(1, 61):
        tiers.spill("yard", make_block(number, picture=b"" if number % 7 == 0 else b"a picture " * (number * 20)))
        if number % 10 == 0:
            store.flush()
    forget(store, 2, 3, 11, 40)
    for number in range(61, 70):
        tiers.spill("yard", make_block(number))
        store.flush()
    store.close()
    return tmp_path / "store" / "yard" / "2026-03-02"


@pytest.mark.slow
def test_no_flipped_byte_brings_back_another_value_or_ends_its_reader(
    day: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT)  # where the processes find their code
    partition = Partition(day, MAP_BYTES)
    truth = values_of(partition, partition.blocks.ids())
    partition.file.close()
    assert not [value for value in truth.values() if isinstance(value, StorageError)]
    places = range(0, (day / "data.mdb").stat().st_size, EVERY)
    target = importlib.import_module("tests.memory.test_flips").flip_and_read
    processes = multiprocessing.get_context("forkserver")
    running = []
    for number in range(PROCESSES):
        folder = shutil.copytree(day, tmp_path / f"day{number}")
        ours, theirs = processes.Pipe(duplex=False)
        process = processes.Process(target=target, args=(folder, list(places[number::PROCESSES]), truth, theirs))
        process.start()
        theirs.close()
        running.append((process, ours))
    outcomes: dict[int, str] = {}
    for process, ours in running:
        with ours:
            while ours.poll(60):
                try:
                    place, outcome = ours.recv()
                except EOFError:
                    break
                outcomes[place] = outcome
        process.join()
        assert process.exitcode == 0
    assert list(sorted(outcomes)) == list(places)
    assert {place: outcome for place, outcome in outcomes.items() if outcome.startswith("wrong")} == {}
    assert {"found", "harmless"} == set(outcomes.values())
