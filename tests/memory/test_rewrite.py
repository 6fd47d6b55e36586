"""A day is rewritten: what is left out is in no byte of the new file, and a failure leaves the old day as it was."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest
import torch

from longwatch.memory.block import BlockInfo
from longwatch.memory.errors import BlockNotFound, StoreUnwritable
from longwatch.memory.examine import find_damage
from longwatch.memory.partition import Partition
from longwatch.memory.rows import Entry
from longwatch.memory.scales import Scales

from .blocks import make_block
from .test_store import bytes_under, marks_of

MAP_BYTES = 1 << 24


def entry(number: int) -> Entry:
    """A block with a picture; its record is its values alone, since a day does not look into records."""
    block = make_block(number, picture=b"a picture " * 40)
    record = block.values.view(torch.int16).numpy().tobytes()
    return Entry(block.info, record, block.signature, block.picture)


@pytest.fixture
def day(tmp_path: Path) -> Partition:
    day = Partition(tmp_path / "store" / "yard" / "2026-03-02", MAP_BYTES)
    day.write([entry(number) for number in range(1, 8)], {})
    return day


def reopened(day: Partition) -> Partition:
    """The day as the next start finds it."""
    day.file.close()
    return Partition(day.folder, MAP_BYTES)


def content(day: Partition) -> list[tuple[BlockInfo, bytes, bytes, bytes]]:
    """Everything that can be read of a day. Its file is closed afterwards, so that it can be opened by another."""
    found = day.blocks.signatures(lambda block_id, exc: pytest.fail(str(exc)))
    read = [
        (info, day.blocks.record(info.block_id), day.blocks.picture(info.block_id), signature.numpy().tobytes())
        for info, signature in found
    ]
    day.file.close()
    return read


def test_forgotten_blocks_are_in_no_byte_and_the_others_are_as_they_were(day: Partition) -> None:
    before, version = content(day), day.version
    day.forget([2, 3])
    assert day.version != version
    assert (day.first_id, day.last_id, day.version.blocks) == (1, 7, 5)
    for again in (day, reopened(day)):
        assert content(again) == [row for row in before if row[0].block_id not in (2, 3)]
    left = bytes_under(day.folder)
    assert not any(mark in left for number in (2, 3) for mark in marks_of(number))
    assert all(mark in left for mark in marks_of(4))
    assert os.listdir(day.folder) == ["data.mdb"]


def test_hidden_blocks_go_with_the_next_rewrite_whatever_it_is_for(day: Partition) -> None:
    day.hide([5])
    day.forget([2])
    assert day.blocks.hidden == frozenset()
    assert day.blocks.all_ids() == {1, 3, 4, 6, 7}


def test_a_block_that_is_hidden_while_its_day_is_rewritten_stays_hidden(day: Partition) -> None:
    def pack(block_id: int, record: bytes) -> tuple[bytes, int | None]:
        if block_id == 5:
            day.blocks.hide([5])
        return record, None

    day.hide([2])
    day.repack(pack, Scales.of([make_block(1)]))
    assert day.blocks.hidden == {5}
    assert day.blocks.ids() == [1, 3, 4, 6, 7]
    assert day.blocks.all_ids() == {1, 3, 4, 5, 6, 7}


def test_new_records_change_the_tokens_of_their_spans_alone(day: Partition) -> None:
    scales = Scales.of([make_block(1)])
    before = content(day)

    def pack(block_id: int, record: bytes) -> tuple[bytes, int | None]:
        return (record, None) if block_id % 2 else (b"a shorter record", 3)

    day.repack(pack, scales)
    after = content(reopened(day))
    assert [row for row in after if row[0].block_id % 2] == [row for row in before if row[0].block_id % 2]
    for old, new in zip(before, after, strict=True):
        if old[0].block_id % 2 == 0:
            assert new == (old[0]._replace(tokens=3), b"a shorter record", *old[2:])
    assert list(day.blocks.scales()) == [scales.digest]
    assert find_damage(day, lambda record: None) == {}


def test_a_damaged_picture_is_removed_alone_and_another_value_with_its_block(day: Partition) -> None:
    day.repair({2: {"pictures": "torn"}, 4: {"pictures": "torn", "spans": "torn"}})
    assert [row[0].block_id for row in content(day)] == [1, 2, 3, 5, 6, 7]
    assert [bool(row[2]) for row in content(day)] == [True, False, True, True, True, True]


def no_room(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def no_new_file(monkeypatch: pytest.MonkeyPatch) -> None:
    real = lmdb.open

    def opened(path: str, **options: object) -> object:
        if path.endswith("fresh"):
            no_room()
        return real(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(lmdb, "open", opened)


def no_new_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", no_room)


@pytest.mark.parametrize("fail", [no_new_file, no_new_name])
def test_a_rewrite_that_finds_no_room_leaves_the_day_as_it_was(
    day: Partition, monkeypatch: pytest.MonkeyPatch, fail: Callable[[pytest.MonkeyPatch], None]
) -> None:
    before = content(day)
    with monkeypatch.context() as patch:
        fail(patch)
        with pytest.raises(StoreUnwritable, match=r"cannot be rewritten: .*No space left"):
            day.forget([2])
    for again in (day, reopened(day)):
        assert content(again) == before
    assert os.listdir(day.folder) == ["data.mdb"]
    day.forget([2])
    assert len(content(day)) == 6


class Stopped(Exception):
    """What a caller may raise."""


def test_an_error_in_packing_ends_a_rewrite_and_changes_nothing(day: Partition) -> None:
    before = content(day)

    def pack(block_id: int, record: bytes) -> tuple[bytes, int | None]:
        if block_id == 4:
            raise Stopped
        return b"", 0

    with pytest.raises(Stopped):
        day.repack(pack, Scales.of([make_block(1)]))
    assert content(reopened(day)) == before
    assert os.listdir(day.folder) == ["data.mdb"]


def test_what_a_kill_left_of_a_rewrite_is_deleted_at_the_next_start(day: Partition) -> None:
    (day.folder / "fresh").mkdir()
    (day.folder / "fresh" / "data.mdb").write_bytes(b"half a day")
    before = content(day)
    assert content(reopened(day)) == before
    assert os.listdir(day.folder) == ["data.mdb"]


def test_an_index_file_goes_before_the_data_that_it_was_made_from(
    day: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash in between, nobody could tell that the index file holds what the data do not."""
    assert day.keep_index(day.version, [b"made from ", b"all seven"])
    assert day.index_file.read_bytes() == b"made from all seven"
    there: list[bool] = []
    real = os.replace

    def replace(old: Path, new: Path) -> None:
        there.append(day.index_file.exists())
        real(old, new)

    monkeypatch.setattr(os, "replace", replace)
    day.forget([2])
    assert there == [False]


def test_an_index_file_of_another_state_or_of_hidden_blocks_is_not_kept(day: Partition) -> None:
    version = day.version
    day.write([entry(8)], {})
    assert not day.keep_index(version, [b"made from seven"])
    day.hide([3])
    assert not day.keep_index(day.version, [b"made from eight"])
    day.forget([3])
    assert day.keep_index(day.version, [b"made from seven others"])


def test_a_day_that_was_put_away_finds_nothing_and_writes_nothing(day: Partition) -> None:
    day.put_away()
    assert day.file.is_gone
    for use in (day.blocks.ids, lambda: day.write([entry(9)], {}), lambda: day.forget([1])):
        with pytest.raises(BlockNotFound, match="was forgotten"):
            use()
    assert not day.keep_index(day.version, [b"of nothing"])
    assert not day.folder.exists()


def test_a_full_map_grows_also_that_of_the_new_file(tmp_path: Path) -> None:
    small = 1 << 18
    day = Partition(tmp_path / "store" / "yard" / "2026-03-02", small)
    large = [entry(number)._replace(picture=os.urandom(small)) for number in range(1, 6)]
    day.write(large, {})
    day.file.close()
    day = Partition(day.folder, small)
    day.forget([1])
    assert [day.blocks.picture(number) for number in range(2, 6)] == [each.picture for each in large[1:]]
