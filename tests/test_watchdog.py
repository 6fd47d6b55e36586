"""Trouble without a dead thread is logged once, when it begins."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest
from structlog.testing import capture_logs

from longwatch.daemon import watchdog
from longwatch.daemon.supervised import SupervisedThread
from longwatch.daemon.watchdog import Watchdog
from longwatch.memory.store import Store
from longwatch.memory.writequeue import QueueSize


@pytest.fixture
def engine() -> Iterator[SupervisedThread]:
    """A thread that is in the same place for as long as the test takes."""
    over = threading.Event()
    thread = SupervisedThread("engine", lambda: cast(None, over.wait(20)))
    thread.start()
    yield thread
    over.set()
    thread.join(5)


def store_with(error: str) -> Store:
    return cast(Store, SimpleNamespace(error=error, writer=SimpleNamespace(queue_size=QueueSize(3, 99))))


def test_an_engine_that_is_stuck_is_logged_once_with_the_place_and_again_only_after_it_moved(
    engine: SupervisedThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: now[0])
    dog = Watchdog(engine, store_with(""))
    with capture_logs() as lines:
        dog.look()
        assert (dog.engine_moves, lines) == (True, [])
        now[0] += 31
        dog.look()
        dog.look()
        assert (dog.engine_moves, len(lines)) == (False, 1)
        assert "over.wait" in lines[0]["where"]
        dog.note_turn()
        assert dog.engine_moves
        now[0] += 31
        dog.look()
        assert len(lines) == 2


def test_a_full_disk_is_logged_once_while_it_lasts_though_the_bytes_change(engine: SupervisedThread) -> None:
    store = store_with("")
    dog = Watchdog(engine, store)
    with capture_logs() as lines:
        for error in ("", "the disk is full: 5 bytes free", "the disk is full: 7 bytes free", "", ""):
            store.error = error  # type: ignore[misc]
            dog.look()
    assert [line["event"] for line in lines] == [
        "nothing is written; blocks wait in RAM",
        "blocks are written again",
    ]
