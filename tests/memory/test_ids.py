"""Ids are never given twice: over kills, forgotten tails, days that were dropped or set aside, and a lost book."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from longwatch.memory.book import FOLDER, Book
from longwatch.memory.errors import StoreUnwritable
from longwatch.memory.ids import Ids
from longwatch.memory.settings import MemoryConfig
from longwatch.memory.store import Store

from .blocks import DAY_NS, MORNING_NS, forget, forget_span, make_block
from .test_store import memory


def test_ids_go_on_without_a_hole_after_a_clean_end(tmp_path: Path) -> None:
    for first in (1, 4):
        store = Store(MemoryConfig(folder=str(tmp_path)))
        assert [store.next_id("yard") for _ in range(3)] == [first, first + 1, first + 2]
        assert store.next_id(f"door-{first}") == 1
        store.close()


def test_after_a_kill_no_id_that_was_given_is_given_again_durable_or_not(tmp_path: Path) -> None:
    code = (
        "import os, signal\nfrom longwatch.memory.settings import MemoryConfig\n"
        "from longwatch.memory.store import Store\n"
        f"store = Store(MemoryConfig(folder={str(tmp_path)!r}))\n"
        "print([store.next_id('yard') for _ in range(5000)][-1], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    last = 0
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert int(done.stdout) >= last + 5000, done.stderr
        last = int(done.stdout)
    store = Store(MemoryConfig(folder=str(tmp_path)))
    assert store.next_id("yard") > last
    store.close()


@pytest.mark.parametrize("how", ["forgotten", "dropped", "set aside", "taken away"])
def test_the_ids_of_blocks_that_are_gone_are_not_given_again(tmp_path: Path, how: str) -> None:
    with memory(tmp_path) as tiers:
        for number in range(1, 5):
            assert tiers.store.next_id("yard") == number
            tiers.spill("yard", make_block(number))
        tiers.store.flush()
        if how == "forgotten":
            assert forget(tiers.store, 3, 4) == 2
        if how == "dropped":
            tiers.store.drop("yard", "2026-03-02")
    if how == "set aside":
        (tmp_path / "yard" / "2026-03-02" / "data.mdb").write_bytes(b"broken" * 1000)
    if how == "taken away":
        shutil.rmtree(tmp_path / "yard")
    with memory(tmp_path) as tiers:
        assert tiers.store.next_id("yard") == 5


def test_a_store_without_a_book_begins_above_what_it_holds(tmp_path: Path) -> None:
    with memory(tmp_path) as tiers:
        for number, day in ((1, 0), (9, 1), (4, 2)):
            tiers.spill("yard", make_block(number, MORNING_NS + day * DAY_NS))
    shutil.rmtree(tmp_path / FOLDER)
    with memory(tmp_path) as tiers:
        assert tiers.store.next_id("yard") == 10


def test_where_the_book_is_lost_ids_leap_over_what_it_may_have_known(tmp_path: Path) -> None:
    with memory(tmp_path) as tiers:
        tiers.spill("yard", make_block(7))
        tiers.store.next_id("door")
    (tmp_path / FOLDER / "data.mdb").write_bytes(b"broken" * 1000)
    with memory(tmp_path) as tiers:
        assert any("the store's book was broken" in notice for notice in tiers.store.notices)
    with memory(tmp_path) as tiers:  # also if none was given in the life that found it
        assert tiers.store.next_id("yard") > 1_000_000
        assert tiers.store.next_id("door") > 1_000_000


def test_where_the_book_is_lost_again_and_again_no_id_is_given_twice(tmp_path: Path) -> None:
    given: list[int] = []
    for _ in range(4):
        with memory(tmp_path) as tiers:
            given += [tiers.store.next_id("yard") for _ in range(5)]
            tiers.spill("yard", make_block(given[-1], MORNING_NS))
            forget_span(tiers.store, None, None)  # nothing on the disk tells of them any more
        (tmp_path / FOLDER / "data.mdb").write_bytes(b"broken" * 1000)
    assert given == sorted(set(given))
    assert len(list((tmp_path / FOLDER).glob("data.mdb.broken-*"))) == 3


def test_a_book_that_takes_no_more_is_said_and_tried_again(tmp_path: Path) -> None:
    book = Book(tmp_path)
    ids = Ids(book, {"yard": 3})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # as a full disk
    try:
        assert not ids.has("yard", 1)
        assert "cannot take more" in ids.error
        with pytest.raises(StoreUnwritable):
            ids.next("yard")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ids.next("yard") == 4
    assert ids.error == ""
    assert ids.has("yard", 64)
    book.close()


def test_many_threads_get_ids_of_their_own(tmp_path: Path) -> None:
    book, interval, given = Book(tmp_path), sys.getswitchinterval(), []
    ids = Ids(book, {})
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=lambda: given.extend(ids.next("yard") for _ in range(3000))) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert sorted(given) == list(range(1, 12_001))
    assert book.last_id("yard") >= 12_000
    book.close()
