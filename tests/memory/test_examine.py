"""What the doctor finds in a store's files, and what it leaves alone: only a proven fault sets a file aside."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import msgspec
import pytest

from longwatch.memory import examine as examining
from longwatch.memory.errors import StorageError, StoreUnreadable, UnknownFormat
from longwatch.memory.examine import ExaminedDay, examine, ids_twice
from longwatch.memory.store import Store

from .blocks import DAY_NS, MORNING_NS, forget, make_block
from .rights import like_any_user
from .test_store import FINGERPRINT, config, memory, tiers_on

MAP_BYTES = 1 << 28


def fill(folder: Path) -> Path:
    with memory(folder) as tiers:
        for number in range(1, 8):
            tiers.spill("yard", make_block(number))
        tiers.store.flush()
        forget(tiers.store, 3)
    return folder / "yard" / "2026-03-02" / "data.mdb"


def test_a_day_that_is_whole_tells_its_runs_of_ids(tmp_path: Path) -> None:
    day = examine(fill(tmp_path), FINGERPRINT, MAP_BYTES, repair=False)
    assert day.healthy
    assert (day.blocks, day.ids) == (6, ((1, 2), (4, 7)))


def test_two_days_with_the_same_ids_are_found(tmp_path: Path) -> None:
    file = fill(tmp_path)
    with memory(tmp_path) as tiers:
        tiers.spill("yard", make_block(7, MORNING_NS + DAY_NS))  # as older versions did after a day was set aside
    other = file.parents[1] / "2026-03-03" / "data.mdb"
    days = [examine(each, FINGERPRINT, MAP_BYTES, repair=False) for each in (file, other)]
    (sentence,) = ids_twice(days)
    assert sentence.startswith("yard: 2026-03-02 and 2026-03-03 both hold 1 ids")
    assert ids_twice([*days[:1], days[1]._replace(stream="door")]) == []


def test_runs_that_lie_within_one_another_are_found_and_days_apart_are_not() -> None:
    days = [
        ExaminedDay("a", f"2026-03-0{n}", 0, {}, ids=ids)
        for n, ids in enumerate((((1, 9),), ((3, 4), (20, 30)), ((10, 19),)))
    ]
    assert [sentence.split(",")[0] for sentence in ids_twice(days)] == ["a: 2026-03-00 and 2026-03-01 both hold 2 ids"]


def unreadable(file: Path) -> None:
    """Replaced by what cannot be read by any user."""
    shutil.move(file, file.with_name("elsewhere"))
    file.mkdir()


def of_another_version(file: Path) -> None:
    data = bytearray(file.read_bytes())
    for page in (0, 4096):
        data[page + 20] = 2
    file.write_bytes(data)


def of_another_machine(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[16:20] = data[16:20][::-1]
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [(unreadable, StoreUnreadable), (of_another_version, UnknownFormat), (of_another_machine, UnknownFormat)],
)
def test_a_file_that_is_not_proven_to_be_broken_is_refused_and_left_as_it_is(
    tmp_path: Path, spoil: object, error: type[StorageError]
) -> None:
    file = fill(tmp_path)
    spoil(file)  # type: ignore[operator]
    for _ in range(2):
        with pytest.raises(error, match=r"data\.mdb .*it is left as it is"):
            Store(config(tmp_path))
    day = examine(file, FINGERPRINT, MAP_BYTES, repair=True)
    assert not day.healthy
    assert "not examined, and left as it is" in str(day)
    assert file.exists()
    assert not list(tmp_path.rglob("*broken*"))


def test_a_file_of_another_user_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    file = fill(tmp_path)
    file.chmod(0)
    with like_any_user(), pytest.raises(StoreUnreadable, match="Permission denied"):
        Store(config(tmp_path))
    assert file.exists()


def test_a_process_that_was_killed_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = fill(tmp_path)
    killed = tmp_path / "killed"
    killed.write_text(f"#!/bin/sh\nkill -{signal.SIGKILL.value} $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(examining.sys, "executable", str(killed))
    day = examine(file, FINGERPRINT, MAP_BYTES, repair=True)
    assert day.unread == "reading it ended in SIGKILL"
    assert file.exists()


def test_a_map_that_is_full_grows_and_a_day_larger_than_its_map_is_opened(tmp_path: Path) -> None:
    small = msgspec.structs.replace(config(tmp_path), map_bytes=1 << 24)
    store = Store(small)
    tiers = tiers_on(store, ram_bytes=1 << 26)
    for number in range(1, 30):
        tiers.spill("yard", make_block(number, picture=bytes(1 << 20)))
        if number % 7 == 0:
            store.flush()
    store.flush()
    assert store.stats.last_error == ""
    assert store.days()[0].disk_bytes > 1 << 24
    store.close()
    store = Store(small)
    tiers = tiers_on(store, ram_bytes=1 << 26)
    tiers.spill("yard", make_block(30, picture=bytes(1 << 20)))
    assert forget(store, 2, 3) == 2
    store.flush()
    assert [info.block_id for info in store.infos("yard")] == [1, *range(4, 31)]
    store.close()
