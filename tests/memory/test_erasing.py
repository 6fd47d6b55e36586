"""Forgetting by time: what is promised is hidden at once and erased, whatever fails or dies in between."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Collection
from pathlib import Path

import lmdb
import pytest

from longwatch.memory.book import Erasure
from longwatch.memory.errors import BlockNotFound, StoreInUse, StoreUnwritable
from longwatch.memory.partition import Partition
from longwatch.memory.store import Store
from longwatch.memory.storedblocks import StoredBlocks

from .blocks import DAY_NS, MORNING_NS, forget_span, make_block
from .rights import like_any_user
from .test_store import bytes_under, config, marks_of, memory, tiers_on

SECOND_NS = 1_000_000_000


def span(first: int, last: int) -> tuple[int, int]:
    return MORNING_NS + first * SECOND_NS, MORNING_NS + last * SECOND_NS


def ids_of(store: Store, stream: str = "yard") -> list[int]:
    return [info.block_id for info in store.infos(stream)]


def fill(folder: Path, last: int = 10) -> None:
    with memory(folder) as tiers:
        for number in range(1, last + 1):
            tiers.spill("yard", make_block(number, picture=b"a picture " * 40))


def test_blocks_that_wait_in_ram_are_forgotten_too(tmp_path: Path) -> None:
    store = Store(config(tmp_path, commit_bytes=1 << 30))
    tiers = tiers_on(store)
    for number in range(1, 8):
        tiers.spill("yard", make_block(number))
        if number == 4:
            store.flush()
    tiers.extend("yard", make_block(2).info, span(5, 5)[0])
    assert forget_span(store, *span(5, 6)) == 3  # the second lasts into it
    store.flush()
    assert ids_of(store) == [1, 3, 4, 7]
    store.close()


def test_what_comes_later_is_not_meant_even_if_its_clock_says_so(tmp_path: Path) -> None:
    fill(tmp_path)
    with memory(tmp_path) as tiers:
        erasure = tiers.store.eraser.promise("yard", *span(3, 6))
        tiers.spill("yard", make_block(11, span(4, 4)[0]))
        assert tiers.store.eraser.carry_out(erasure) == [3, 4, 5, 6]
        tiers.store.flush()
        assert ids_of(tiers.store) == [1, 2, 7, 8, 9, 10, 11]


def test_a_block_that_is_committed_while_a_day_is_looked_through_is_none_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path)
    look = StoredBlocks.all_ids
    with memory(tmp_path) as tiers:
        later = iter(range(11, 15))

        def commit_one() -> None:
            tiers.spill("yard", make_block(next(later)))
            tiers.store.flush()

        def looked_at_while_it_grows(day: StoredBlocks) -> set[int]:
            commit_one()
            found = look(day)
            commit_one()
            return found

        erasure = Erasure(1, "yard", *span(3, 6), last_id=1 << 40)
        with monkeypatch.context() as patch:
            patch.setattr(StoredBlocks, "all_ids", looked_at_while_it_grows)
            (day,) = tiers.store.partitions("yard")
            assert set(day.blocks.touched(erasure, {})) == {3, 4, 5, 6}
        assert next(later) > 12


def test_an_open_end_forgets_all_so_far_and_the_time_is_known_as_seen(tmp_path: Path) -> None:
    fill(tmp_path)
    with memory(tmp_path) as tiers:
        assert forget_span(tiers.store, span(8, 8)[0], None) == 3
        assert tiers.store.book.seen_ns("yard") == span(10, 10)[0]
        assert forget_span(tiers.store, None, None) == 7
        assert tiers.store.streams() == []
        assert not (tmp_path / "yard" / "2026-03-02").exists()
    with memory(tmp_path) as tiers:
        assert tiers.store.book.seen_ns("yard") == span(10, 10)[0]


def test_a_failed_forgetting_is_hidden_tried_again_and_told_truly(tmp_path: Path) -> None:
    fill(tmp_path)
    with memory(tmp_path) as tiers:
        in_the_way = tmp_path / "yard" / "2026-03-02" / "fresh"
        in_the_way.write_text("not a folder")
        for _ in range(2):
            with pytest.raises(StoreUnwritable, match="cannot be rewritten"):
                forget_span(tiers.store, *span(3, 4))
            assert ids_of(tiers.store) == [1, 2, 5, 6, 7, 8, 9, 10]
            assert [info.block_id for info, _ in tiers.signatures("yard")] == [1, 2, 5, 6, 7, 8, 9, 10]
            (day,) = tiers.store.partitions("yard")
            for read in (day.blocks.record, day.blocks.info):
                with pytest.raises(BlockNotFound):
                    read(3)
            assert tiers.picture("yard", 3) == b""
        assert len(tiers.store.eraser.pending) == 1
        in_the_way.unlink()
        assert forget_span(tiers.store, *span(3, 4)) == 2
        assert tiers.store.eraser.pending == []
        assert not any(marks_of(number)[0] in bytes_under(tmp_path) for number in (3, 4))


def test_what_went_later_by_itself_is_told_to_who_asks_again(tmp_path: Path) -> None:
    fill(tmp_path)
    with memory(tmp_path) as tiers:
        in_the_way = tmp_path / "yard" / "2026-03-02" / "fresh"
        in_the_way.write_text("not a folder")
        with pytest.raises(StoreUnwritable):
            forget_span(tiers.store, *span(3, 4))
        assert tiers.store.eraser.carry_out_rest() == {}
        in_the_way.unlink()
        assert tiers.store.eraser.carry_out_rest() == {"yard": [3, 4]}
        assert tiers.store.eraser.error == ""
        assert forget_span(tiers.store, *span(3, 4)) == 2
        assert forget_span(tiers.store, *span(3, 4)) == 0


@pytest.mark.parametrize("shut", ["yard", "yard/2026-03-02"])
def test_a_whole_day_that_cannot_be_deleted_is_told_each_time_and_never_comes_back(tmp_path: Path, shut: str) -> None:
    fill(tmp_path)
    with memory(tmp_path) as tiers, like_any_user():
        (tmp_path / shut).chmod(0o500)
        for _ in range(3):
            with pytest.raises(StoreUnwritable, match=r"2026-03-02.* cannot be (removed|deleted): Perm"):
                forget_span(tiers.store, None, None)
            assert ids_of(tiers.store) == []
            assert len(tiers.store.eraser.pending) == 1
        for folder in (tmp_path / "yard", *(tmp_path / "yard").iterdir()):
            folder.chmod(0o700)
    with memory(tmp_path) as tiers:
        assert ids_of(tiers.store) == []
        assert not any(marks_of(number)[0] in bytes_under(tmp_path) for number in range(1, 11))


def test_a_day_that_cannot_be_deleted_keeps_no_other_from_being_erased(tmp_path: Path) -> None:
    fill(tmp_path)
    with memory(tmp_path) as tiers:
        tiers.spill("yard", make_block(11, MORNING_NS + DAY_NS))
        tiers.store.flush()
        first = tmp_path / "yard" / "2026-03-02"
        (first / "fresh").write_text("not a folder")
        with pytest.raises(StoreUnwritable, match="cannot be rewritten"):
            forget_span(tiers.store, span(5, 5)[0], None)
        assert ids_of(tiers.store) == [1, 2, 3, 4]
        assert marks_of(5)[0] in bytes_under(tmp_path)
        assert marks_of(11)[0] not in bytes_under(tmp_path)
        (first / "fresh").unlink()
        (first / "index").write_text("made from all ten")
        tiers.spill("yard", make_block(12, MORNING_NS + DAY_NS))
        tiers.store.flush()
        with like_any_user():
            first.chmod(0o500)
            with pytest.raises(StoreUnwritable, match="index cannot be removed"):
                forget_span(tiers.store, None, None)
            assert ids_of(tiers.store) == []
            first.chmod(0o700)
        assert forget_span(tiers.store, None, None) == 11  # hidden ones count as well


def test_a_dropped_day_is_gone_whole_or_as_it_was(tmp_path: Path) -> None:
    fill(tmp_path)
    with memory(tmp_path) as tiers, like_any_user():
        (tmp_path / "yard").chmod(0o500)
        for _ in range(2):
            with pytest.raises(StoreUnwritable, match="2026-03-02 cannot be removed: Permission denied"):
                tiers.store.drop("yard", "2026-03-02")
            assert ids_of(tiers.store) == list(range(1, 11))
            assert len(tiers.store.days()) == 1
        (tmp_path / "yard").chmod(0o700)
        (tmp_path / "yard" / "2026-03-02").chmod(0o500)  # it can be put away, and not be deleted
        assert tiers.store.drop("yard", "2026-03-02") == list(range(1, 11))
        assert (ids_of(tiers.store), tiers.store.days()) == ([], [])
        tiers.spill("yard", make_block(11))  # of the same day
        tiers.store.flush()
        assert "cannot be deleted: Permission denied" in tiers.store.delete_leftovers()
        (left,) = (tmp_path / "yard").glob("2026-03-02.gone-*")
        left.chmod(0o700)
        assert tiers.store.delete_leftovers() == ""
        assert ids_of(tiers.store) == [11]
        assert not any(marks_of(number)[0] in bytes_under(tmp_path) for number in range(1, 11))


def test_a_folder_in_which_a_day_is_still_being_rewritten_is_not_given_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path)
    store, begun, goes_on, forget = Store(config(tmp_path)), threading.Event(), threading.Event(), Partition.forget

    def forget_slowly(day: Partition, ids: Collection[int]) -> None:
        begun.set()
        goes_on.wait(10)
        forget(day, ids)

    def forget_some() -> None:
        with pytest.raises(StoreUnwritable, match="closed"):
            forget_span(store, *span(3, 6))

    monkeypatch.setattr(Partition, "forget", forget_slowly)
    monkeypatch.setattr("longwatch.memory.eraser._CLOSE_SECONDS", 0.1)
    thread = threading.Thread(target=forget_some)
    thread.start()
    assert begun.wait(10)
    store.close()
    with pytest.raises(StoreInUse):
        Store(config(tmp_path))
    goes_on.set()
    thread.join()


def test_what_a_kill_left_of_a_dropped_day_is_deleted_at_the_next_start(tmp_path: Path) -> None:
    fill(tmp_path)
    for day, names in (("2026-03-01", ["index"]), ("2026-02-01.gone-5", ["data.mdb", "index"])):
        (tmp_path / "yard" / day).mkdir()
        for name in names:
            (tmp_path / "yard" / day / name).write_bytes(b"of a day that is gone")
    aside = tmp_path / "yard" / "2026-02-28"
    aside.mkdir()
    (aside / "data.mdb.broken-20260303-000000").write_bytes(b"set aside")
    (aside / "index").write_bytes(b"of a day that is gone")
    with memory(tmp_path) as tiers:
        assert b"of a day that is gone" not in bytes_under(tmp_path)
        assert b"set aside" in bytes_under(tmp_path)
        assert sorted(os.listdir(tmp_path / "yard")) == ["2026-02-28", "2026-03-02"]
        assert ids_of(tiers.store) == list(range(1, 11))


def test_while_a_day_is_deleted_other_streams_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    deleting, go_on = threading.Event(), threading.Event()
    delete = shutil.rmtree

    def slowly(path: Path, **options: bool) -> None:
        if ".gone-" in Path(path).name:
            deleting.set()
            assert go_on.wait(30)
        delete(path, **options)

    with memory(tmp_path) as tiers:
        tiers.spill("door", make_block(1))
        tiers.store.flush()
        monkeypatch.setattr(shutil, "rmtree", slowly)
        dropping = threading.Thread(target=tiers.store.drop, args=("yard", "2026-03-02"))
        dropping.start()
        try:
            assert deleting.wait(30)
            found: list[object] = []
            look = threading.Thread(target=lambda: found.extend((tiers.store.last_id("door"), tiers.store.streams())))
            look.start()
            look.join(10)
            assert found == [1, ["door"]]
        finally:
            go_on.set()
            dropping.join()
        assert not list((tmp_path / "yard").iterdir())


@pytest.mark.parametrize("moment", ["promised", "hidden"])
def test_a_kill_after_the_promise_brings_nothing_back(tmp_path: Path, moment: str) -> None:
    fill(tmp_path)
    (tmp_path / "yard" / "2026-03-02" / "index").write_text("made from all ten")
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom tests.memory.test_store import config\n"
        "from longwatch.memory.store import Store\nfrom longwatch.memory.partition import Partition\n"
        "die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"store = Store(config(Path({str(tmp_path)!r})))\n"
        f"erasure = store.eraser.promise('yard', {span(3, 3)[0]}, {span(6, 6)[0]})\n"
        f"Partition.forget = die\n"
        f"die() if {moment == 'promised'} else store.eraser.carry_out(erasure)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with memory(tmp_path) as tiers:
        assert ids_of(tiers.store) == [1, 2, 7, 8, 9, 10]
        assert not any(mark in bytes_under(tmp_path) for number in (3, 6) for mark in marks_of(number))
        assert not (tmp_path / "yard" / "2026-03-02" / "index").exists()
        assert tiers.store.book.seen_ns("yard") == span(6, 6)[0]


def test_a_start_that_cannot_erase_hides_says_so_and_erases_later(tmp_path: Path) -> None:
    fill(tmp_path)
    store = Store(config(tmp_path))
    store.eraser.promise("yard", *span(3, 6))
    store.close()
    limit = lmdb.open  # the day's new file cannot be made
    try:
        lmdb.open = lambda path, **options: _refuse(limit, path, options)  # type: ignore[assignment]
        store = Store(config(tmp_path))
        assert ids_of(store) == [1, 2, 7, 8, 9, 10]
        assert any("it is not shown, and tried again" in notice for notice in store.notices)
    finally:
        lmdb.open = limit
    assert store.eraser.carry_out_rest() == {"yard": [3, 4, 5, 6]}
    assert not any(marks_of(number)[0] in bytes_under(tmp_path) for number in (3, 6))
    store.close()


def _refuse(real: object, path: str, options: dict[str, object]) -> object:
    if path.endswith("fresh"):
        raise lmdb.DiskError("No space left on device")
    return real(path, **options)  # type: ignore[operator]


def test_a_block_whose_span_is_damaged_goes_with_its_day_and_stays_with_others(tmp_path: Path) -> None:
    fill(tmp_path)
    day = tmp_path / "yard" / "2026-03-02"
    with lmdb.open(str(day), max_dbs=5, lock=False) as env, env.begin(write=True) as txn:
        spans = env.open_db(b"spans", txn=txn)
        txn.put((9).to_bytes(8, "big"), b"damaged", db=spans)
        txn.delete((10).to_bytes(8, "big"), db=spans)
    with memory(tmp_path) as tiers:
        assert forget_span(tiers.store, MORNING_NS + 8 * DAY_NS, None) == 0
        assert marks_of(9)[0] in bytes_under(tmp_path)
        assert forget_span(tiers.store, *span(3, 3)) == 3
        assert ids_of(tiers.store) == [1, 2, 4, 5, 6, 7, 8]
        assert not any(marks_of(number)[0] in bytes_under(tmp_path) for number in (3, 9, 10))


def test_what_cannot_be_read_is_forgotten_with_the_days_after_it_since_a_scene_may_hold_over_midnight(
    tmp_path: Path,
) -> None:
    with memory(tmp_path) as tiers:
        tiers.spill("yard", make_block(1))
        tiers.extend("yard", make_block(1).info, MORNING_NS + 2 * DAY_NS)
    day = tmp_path / "yard" / "2026-03-02"
    with lmdb.open(str(day), max_dbs=5, lock=False) as env, env.begin(write=True) as txn:
        txn.put((1).to_bytes(8, "big"), b"damaged", db=env.open_db(b"spans", txn=txn))
    (day / "data.mdb.broken-20260303-000000").write_bytes(b"something of the 2nd")
    with memory(tmp_path) as tiers:
        assert forget_span(tiers.store, None, MORNING_NS - DAY_NS) == 0
        assert b"of the 2nd" in bytes_under(tmp_path)
        assert forget_span(tiers.store, MORNING_NS + DAY_NS, MORNING_NS + DAY_NS + SECOND_NS) == 1
    assert marks_of(1)[0] not in bytes_under(tmp_path)
    assert b"of the 2nd" not in bytes_under(tmp_path)


def test_files_that_were_set_aside_go_with_their_day(tmp_path: Path) -> None:
    fill(tmp_path)
    day = tmp_path / "yard" / "2026-03-02"
    (day / "data.mdb.broken-20260303-000000").write_bytes(b"something of the 2nd")
    other = tmp_path / "yard" / "2026-03-05"
    other.mkdir()
    (other / "data.mdb.broken-20260306-000000").write_bytes(b"something of the 5th")
    with memory(tmp_path) as tiers:
        assert tiers.store.remembered() == ["yard"]
        assert forget_span(tiers.store, *span(3, 3)) == 1
        assert b"of the 2nd" not in bytes_under(tmp_path)
        assert b"of the 5th" in bytes_under(tmp_path)
        assert forget_span(tiers.store, MORNING_NS + 2 * DAY_NS, None) == 0
        assert not other.exists()
        assert len(ids_of(tiers.store)) == 9


def test_a_block_that_lasts_over_midnight_is_forgotten_by_either_day(tmp_path: Path) -> None:
    with memory(tmp_path) as tiers:
        block = make_block(1)
        tiers.spill("yard", block)
        tiers.spill("yard", make_block(2, MORNING_NS + DAY_NS))
        tiers.extend("yard", block.info, MORNING_NS + DAY_NS - SECOND_NS)
        tiers.store.flush()
        midnight = MORNING_NS + 15 * 3600 * SECOND_NS
        assert forget_span(tiers.store, midnight, midnight + SECOND_NS) == 1
        assert ids_of(tiers.store) == [2]


def test_no_new_file_or_folder_can_be_read_by_others_and_old_ones_are_shut(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    fill(folder)
    day = folder / "yard" / "2026-03-02"
    assert all(not path.stat().st_mode & 0o077 for path in (folder, *folder.rglob("*")))
    os.chmod(day / "data.mdb", 0o644)
    os.chmod(day, 0o755)
    with memory(folder) as tiers:
        assert any("2 files and folders" in notice for notice in tiers.store.notices)
        assert all(not path.stat().st_mode & 0o077 for path in (folder, *folder.rglob("*")))
