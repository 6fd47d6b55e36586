"""Store and tiers on real LMDB files: durability, restart, budgets, retention, and what is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from longwatch.memory.errors import BlockNotFound, CorruptBlock, FingerprintMismatch, StoreInUse, StoreUnwritable
from longwatch.memory.record import seal
from longwatch.memory.settings import MemoryConfig
from longwatch.memory.store import Store
from longwatch.memory.streamscales import SCALED_ON
from longwatch.memory.tiers import Tiers

from .blocks import DAY_NS, MORNING_NS, forget, forget_span, make_block

FINGERPRINT = "ab" * 32


def config(folder: Path, **options: object) -> MemoryConfig:
    return MemoryConfig(folder=str(folder), codec="raw16", commit_seconds=0.05, map_bytes=1 << 28, **options)  # type: ignore[arg-type]


def tiers_on(store: Store, ram_bytes: int = 1 << 20, fingerprint: str = FINGERPRINT, codec: str = "raw16") -> Tiers:
    device = torch.device("cpu")
    return Tiers(store, codec=codec, ram_bytes=ram_bytes, fingerprint=fingerprint, device=device, dtype=torch.bfloat16)


@contextmanager
def memory(folder: Path, **options: Any) -> Iterator[Tiers]:
    store = Store(config(folder))
    try:
        yield tiers_on(store, **options)
    finally:
        store.close()


def test_a_block_through_lmdb_comes_back_bit_for_bit_after_a_restart(tmp_path: Path) -> None:
    with memory(tmp_path) as tiers:
        for number in range(1, 8):
            tiers.spill("yard", make_block(number))
    with memory(tmp_path) as tiers:
        for block in tiers.fetch("yard", range(1, 8)):
            original = make_block(block.block_id)
            assert torch.equal(block.keys.view(torch.int16), original.keys.view(torch.int16))
            assert torch.equal(block.values.view(torch.int16), original.values.view(torch.int16))
            assert tiers.picture("yard", block.block_id) == original.picture
        found = list(tiers.signatures("yard"))
        assert [info.block_id for info, _ in found] == list(range(1, 8))
        assert all(torch.equal(signature, make_block(info.block_id).signature) for info, signature in found)


def test_a_block_can_be_fetched_before_it_is_durable(tmp_path: Path) -> None:
    store = Store(MemoryConfig(folder=str(tmp_path), codec="raw16", commit_seconds=30, map_bytes=1 << 28))
    tiers = tiers_on(store)
    tiers.spill("yard", make_block(1))
    assert tiers.fetch("yard", [1])[0].start_ns == make_block(1).start_ns
    assert tiers.picture("yard", 1) == b"jpeg1"
    with pytest.raises(BlockNotFound):
        store.blocks_with("yard", 1).record(1)
    store.close()


def test_a_longer_span_survives_whether_the_block_was_durable_or_not(tmp_path: Path) -> None:
    with memory(tmp_path) as tiers:
        first, second = make_block(1), make_block(2)
        tiers.spill("yard", first)
        tiers.store.flush()
        tiers.extend("yard", first.info, first.start_ns + 500)
        tiers.spill("yard", second)
        tiers.extend("yard", second.info, second.start_ns + 900)
        assert [b.end_ns - b.start_ns for b in tiers.fetch("yard", [2])] == [900]
    with memory(tmp_path) as tiers:
        assert [info.end_ns - info.start_ns for info in tiers.store.infos("yard")] == [500, 900]


def test_blocks_come_back_in_time_order_and_each_once(tmp_path: Path) -> None:
    with memory(tmp_path) as tiers:
        for number in (1, 2, 3):
            tiers.spill("yard", make_block(number))
        assert [block.block_id for block in tiers.fetch("yard", [3, 1, 3, 2])] == [1, 2, 3]


def test_an_unknown_block_is_said_to_be_unknown(tmp_path: Path) -> None:
    with memory(tmp_path) as tiers, pytest.raises(BlockNotFound, match="stream yard has no block 7"):
        tiers.fetch("yard", [7])


def test_streams_and_days_are_kept_apart(tmp_path: Path) -> None:
    with memory(tmp_path) as tiers:
        tiers.spill("yard", make_block(1))
        tiers.spill("yard", make_block(2, MORNING_NS + DAY_NS))
        tiers.spill("door", make_block(1))
        tiers.store.flush()
        assert [(day.stream, day.day) for day in tiers.store.days()] == [
            ("door", "2026-03-02"),
            ("yard", "2026-03-02"),
            ("yard", "2026-03-03"),
        ]
        assert tiers.store.last_id("yard") == 2
        assert tiers.store.last_id("door") == 1


def test_a_second_process_is_told_who_has_the_store(tmp_path: Path) -> None:
    with memory(tmp_path), pytest.raises(StoreInUse, match=f"in use by process {os.getpid()}"):
        Store(config(tmp_path))
    Store(config(tmp_path)).close()


def test_a_store_of_another_model_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with memory(tmp_path) as tiers:
        tiers.spill("yard", make_block(1))
    store = Store(config(tmp_path))
    with pytest.raises(FingerprintMismatch):
        tiers_on(store, fingerprint="cd" * 32).fetch("yard", [1])
    assert torch.equal(tiers_on(store).fetch("yard", [1])[0].keys, make_block(1).keys)
    store.close()


def test_a_folder_that_cannot_be_made_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnwritable, match=r"memory.folder .*file.* cannot be used"):
        Store(config(tmp_path / "file"))


def test_a_flipped_byte_in_the_file_never_comes_back_as_a_block(tmp_path: Path) -> None:
    with memory(tmp_path) as tiers:
        tiers.spill("yard", make_block(1))
    file = tmp_path / "yard" / "2026-03-02" / "data.mdb"
    data = bytearray(file.read_bytes())
    needle = make_block(1).keys.view(torch.uint8).numpy().tobytes()[:40]
    data[data.index(needle) + 20] ^= 1
    file.write_bytes(data)
    with memory(tmp_path) as tiers, pytest.raises(CorruptBlock, match="block 1 of yard: the checksum does not hold"):
        tiers.fetch("yard", [1])


def test_ram_stays_within_its_budget_and_keeps_what_was_read_last(tmp_path: Path) -> None:
    with memory(tmp_path) as tiers:
        for number in range(1, 20):
            tiers.spill("yard", make_block(number))
    with memory(tmp_path, ram_bytes=3000) as tiers:
        tiers.fetch("yard", range(1, 20))
        tiers.check_integrity()
        assert 0 < tiers.stats.ram_bytes <= 3000
        assert [tiers.in_ram("yard", number) for number in (1, 18, 19)] == [False, True, True]


def test_the_books_balance_after_any_walk(tmp_path: Path) -> None:
    """Put, extend, fetch, flush, drop and restart in a seeded random order; what is kept is always the same."""
    rng = np.random.default_rng(5)
    folder, next_id, kept = tmp_path, 1, set()
    store = Store(config(folder))
    tiers = tiers_on(store, 4000)
    for _ in range(300):
        match int(rng.integers(6)):
            case 0 | 1:
                tiers.spill("yard", make_block(next_id, MORNING_NS + next_id * DAY_NS // 20))
                kept.add(next_id)
                next_id += 1
            case 2 if kept:
                block_id = int(rng.choice(sorted(kept)))
                assert torch.equal(tiers.fetch("yard", [block_id])[0].keys, make_block(block_id).keys)
            case 3:
                store.flush()
            case 4 if len(store.days()) > 2:
                store.flush()
                stream, day, *_ = store.days()[0]
                gone = store.drop(stream, day)
                tiers.drop(stream, gone)
                kept -= set(gone)
            case 5 if rng.random() < 0.1:
                store.close()
                store = Store(config(folder))
                tiers = tiers_on(store, 4000)
        tiers.check_integrity()
    store.flush()
    assert {info.block_id for info in store.infos("yard")} == kept
    store.close()


def test_a_file_takes_more_of_the_disk_than_what_it_holds(tmp_path: Path) -> None:
    with memory(tmp_path) as tiers:
        for number in range(1, 40):
            tiers.spill("yard", make_block(number, picture=b"a picture " * 100))
        tiers.store.flush()
        (day,) = tiers.store.days()
        blocks = tiers.store.partitions("yard")[0].blocks
        least = sum(len(blocks.record(n)) + len(blocks.picture(n)) for n in range(1, 40))
        assert least < day.content_bytes <= day.disk_bytes


def bytes_under(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


def marks_of(number: int) -> tuple[bytes, ...]:
    """What only this block has in the files: its values, its signature, and its picture's end."""
    block = make_block(number, picture=b"a picture " * 40)
    values, signature = block.values.view(torch.int16).numpy().tobytes(), block.signature.numpy().tobytes()
    return values, signature, block.picture[-20:] + seal(block.picture, number.to_bytes(8, "big"))[-4:]


def test_what_is_forgotten_leaves_no_byte_and_the_rest_is_as_it_was(tmp_path: Path) -> None:
    """Pictures, values and signatures are looked for in the files, also those of a value that lay in a shared page."""
    gone, kept = (3, 4, 9), (1, 2, 5, 6, 7, 8, 10, 11)
    with memory(tmp_path) as tiers:
        for number in range(1, 11):
            tiers.spill("yard", make_block(number, picture=b"a picture " * 40))
        tiers.spill("yard", make_block(11, MORNING_NS + DAY_NS))
        tiers.store.flush()
        before = bytes_under(tmp_path)
        assert all(mark in before for number in gone for mark in marks_of(number))
        tiers.drop("yard", gone)
        assert forget(tiers.store, *gone) == 3
        after = bytes_under(tmp_path)
        assert not any(mark in after for number in gone for mark in marks_of(number))
        assert all(mark in after for number in kept[:-1] for mark in marks_of(number))
        assert [info.block_id for info in tiers.store.infos("yard")] == list(kept)
        with pytest.raises(BlockNotFound):
            tiers.fetch("yard", [4])
        tiers.spill("yard", make_block(12))
        day = MORNING_NS + DAY_NS
        assert forget_span(tiers.store, day, day + DAY_NS // 4) == 1  # all of its day
    with memory(tmp_path) as tiers:
        assert [info.block_id for info in tiers.store.infos("yard")] == [*kept[:-1], 12]
        assert [day.day for day in tiers.store.days()] == ["2026-03-02"]
        assert torch.equal(tiers.fetch("yard", [5])[0].keys, make_block(5).keys)


def test_a_forgetting_that_finds_no_room_hides_it_and_a_restart_erases_it(tmp_path: Path) -> None:
    with memory(tmp_path) as tiers:
        for number in range(1, 6):
            tiers.spill("yard", make_block(number))
        tiers.store.flush()
        (tmp_path / "yard" / "2026-03-02" / "fresh").write_text("in the way, and not a folder")
        with pytest.raises(StoreUnwritable, match="cannot be rewritten"):
            forget(tiers.store, 2)
        assert [info.block_id for info in tiers.store.infos("yard")] == [1, 3, 4, 5]
        assert marks_of(2)[0] in bytes_under(tmp_path)
        (tmp_path / "yard" / "2026-03-02" / "fresh").unlink()
    with memory(tmp_path) as tiers:
        assert [info.block_id for info in tiers.store.infos("yard")] == [1, 3, 4, 5]
        assert marks_of(2)[0] not in bytes_under(tmp_path)
        assert forget(tiers.store, 2) == 1  # asked again, it tells what is true of the first time
        assert forget(tiers.store, 2) == 0


def scaled_keys(folder: Path) -> dict[int, torch.Tensor]:
    with memory(folder, codec="ecsq4") as tiers:
        return {info.block_id: tiers.fetch("yard", [info.block_id])[0].keys for info in tiers.store.infos("yard")}


def test_scaled_blocks_come_back_as_they_were_taken_after_a_restart_on_every_day(tmp_path: Path) -> None:
    """The first blocks are packed without scales; each later day's file holds its own copy of them."""
    with memory(tmp_path, codec="ecsq4") as tiers:
        taken = {n: tiers.spill("yard", make_block(n)).keys for n in range(1, SCALED_ON + 4)}
    with memory(tmp_path, codec="ecsq4") as tiers:
        for n, time_ns in ((40, MORNING_NS + DAY_NS), (41, MORNING_NS + 2 * DAY_NS)):
            taken[n] = tiers.spill("yard", make_block(n, time_ns)).keys
        tiers.store.flush()
        tiers.drop("yard", tiers.store.drop("yard", "2026-03-02"))  # where the scales were first kept
        assert not set(taken) & {info.block_id for info in tiers.store.infos("yard")} - {40, 41}
    assert scaled_keys(tmp_path).keys() == {40, 41}
    assert all(torch.equal(keys, taken[n]) for n, keys in scaled_keys(tmp_path).items())
    error = (taken[41].float() - make_block(41).keys.float()).abs().amax()
    assert 0 < error < 1  # what was taken is near what was given, and not it


def test_one_damaged_copy_of_the_scales_harms_nothing_and_two_are_damage(tmp_path: Path) -> None:
    with memory(tmp_path, codec="ecsq4") as tiers:
        for number in range(1, SCALED_ON + 4):
            tiers.spill("yard", make_block(number))
        tiers.store.flush()
        (scales,) = tiers.store.partitions("yard")[0].blocks.scales().values()
    before, file = scaled_keys(tmp_path), tmp_path / "yard" / "2026-03-02" / "data.mdb"
    places = [found.start() for found in re.finditer(re.escape(scales.packed), file.read_bytes())]
    assert len(places) == 2

    def flip(place: int) -> None:
        data = bytearray(file.read_bytes())
        data[place + 20] ^= 1
        file.write_bytes(data)

    flip(places[0])
    after = scaled_keys(tmp_path)
    assert all(torch.equal(after[n], keys) for n, keys in before.items())
    flip(places[1])
    with memory(tmp_path, codec="ecsq4") as tiers:
        assert torch.equal(tiers.fetch("yard", [1])[0].keys, before[1])  # packed without scales
        with pytest.raises(CorruptBlock, match="the scales that it was packed against cannot be read"):
            tiers.fetch("yard", [SCALED_ON + 2])


def test_what_stays_after_a_forgetting_still_finds_its_scales(tmp_path: Path) -> None:
    with memory(tmp_path, codec="ecsq2") as tiers:
        for number in range(1, SCALED_ON + 4):
            tiers.spill("yard", make_block(number))
        forget(tiers.store, 3, SCALED_ON + 1)
    assert scaled_keys(tmp_path).keys() == set(range(1, SCALED_ON + 4)) - {3, SCALED_ON + 1}
