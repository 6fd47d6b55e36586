"""A supervised thread: started once, started again when it has died, and never twice at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from longwatch.daemon.supervised import SupervisedThread


class Work:
    """Goes on until it is stopped; may be made to die."""

    def __init__(self) -> None:
        self.starts = 0
        self.stop, self.dies, self.runs = threading.Event(), False, threading.Event()

    def __call__(self) -> None:
        self.starts += 1
        if self.dies:
            raise ZeroDivisionError("a mistake of ours")
        self.runs.set()
        self.stop.wait(20)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    work = Work()
    yield work
    work.stop.set()


def test_a_thread_that_was_never_started_is_not_alive_and_nobody_waits_for_it(work: Work) -> None:
    thread = SupervisedThread("work", work)
    thread.join(20)
    assert (thread.begun, thread.alive, thread.stack) == (False, False, "")


def test_starting_a_thread_that_runs_starts_no_second(work: Work) -> None:
    thread = SupervisedThread("work", work)
    thread.start()
    thread.start()
    assert work.runs.wait(5)
    assert (thread.alive, work.starts) == (True, 1)


def test_a_thread_that_died_is_started_again(work: Work) -> None:
    work.dies = True
    thread = SupervisedThread("work", work)
    thread.start()
    thread.join(5)
    assert (thread.begun, thread.alive) == (True, False)
    work.dies = False
    thread.start()
    assert work.runs.wait(5)
    assert (thread.alive, work.starts) == (True, 2)


def test_a_thread_that_could_not_be_started_counts_as_not_begun(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    thread = SupervisedThread("work", work)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", none_left)
        with pytest.raises(RuntimeError):
            thread.start()
    assert not thread.begun
    thread.start()
    assert work.runs.wait(5)


def test_the_stack_shows_where_a_thread_is(work: Work) -> None:
    thread = SupervisedThread("work", work)
    thread.start()
    assert work.runs.wait(5)
    assert "self.stop.wait(20)" in thread.stack
