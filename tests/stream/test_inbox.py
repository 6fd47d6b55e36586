"""The inbox: a real capture process, and the thread that takes its messages in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from longwatch.daemon.capture.message import Frame, Message, SourceEnd
from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.stream.inbox import Inbox
from longwatch.daemon.stream.message_queue import MessageQueue
from longwatch.yard.scene import Scene

YARD = "scene://?seed=3&minutes=0.1&start=2026-03-02T14:00:00"
SECOND_NS = 1_000_000_000


class Watcher:
    """An inbox with what it called back."""

    def __init__(self, **source: Any) -> None:
        self.states: list[str] = []
        self.calls = 0
        config = SourceConfig(gate_levels=0, **source)
        self.inbox = Inbox("yard", config, watched=True, on_message=self._count, on_state=self._note)

    def take(self, until: Callable[[list[Message]], object]) -> list[Message]:
        messages, deadline = list[Message](), time.monotonic() + 30
        while not until(messages):
            assert time.monotonic() < deadline, messages
            message = self.inbox.take()
            if message is None:
                time.sleep(0.01)
            else:
                messages.append(message)
        return messages

    def _count(self) -> None:
        self.calls += 1

    def _note(self, time_ns: int, text: str) -> None:
        self.states.append(text)


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    watcher = Watcher(url=YARD, pace="fast")
    yield watcher
    watcher.inbox.stop()


def ended(messages: list[Message]) -> bool:
    return bool(messages) and isinstance(messages[-1], SourceEnd)


def times(messages: list[Message]) -> list[int]:
    start_ns = Scene.from_url(YARD).start_ns
    return [(message.utc_ns - start_ns) // SECOND_NS for message in messages if isinstance(message, Frame)]


def test_nothing_comes_before_the_start_and_then_everything_up_to_the_end(watcher: Watcher) -> None:
    assert watcher.inbox.alive
    assert watcher.inbox.take() is None
    watcher.inbox.start()
    messages = watcher.take(ended)
    assert times(messages) == list(range(6))
    assert watcher.calls == len(messages)
    assert watcher.states[0] == "watching"
    assert watcher.inbox.alive, "a feeder with nothing left to do is not dead"


def test_a_recording_goes_on_behind_what_was_seen(watcher: Watcher) -> None:
    watcher.inbox.go_on_behind(Scene.from_url(YARD).start_ns + 3 * SECOND_NS)
    watcher.inbox.start()
    assert times(watcher.take(ended)) == [4, 5]


def test_a_feeder_that_has_died_is_replaced_and_no_message_is_lost(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # its traceback is expected
    real, calls = watcher.inbox.child.next, iter(range(1000))

    def fail_once(timeout_seconds: float) -> Message | None:
        if next(calls) == 3:
            raise MemoryError
        return real(timeout_seconds)

    monkeypatch.setattr(watcher.inbox.child, "next", fail_once)
    watcher.inbox.start()
    deadline = time.monotonic() + 30
    while watcher.inbox.alive and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not watcher.inbox.alive
    watcher.inbox.start()
    assert times(watcher.take(ended)) == list(range(6))


def test_stop_ends_the_process_whether_the_feeder_ran_or_not(watcher: Watcher) -> None:
    watcher.inbox.start()
    watcher.take(len)
    watcher.inbox.stop()
    assert watcher.inbox.child.over
    never = Watcher(url=YARD)
    never.inbox.stop()
    assert never.inbox.child.over


def test_a_queue_is_limited_in_messages_and_in_bytes_but_takes_one_that_is_too_large() -> None:
    def frame(side: int) -> Frame:
        return Frame(0, side, side, np.zeros(side * side * 3, np.uint8).tobytes(), b"", 0, 0)

    queue = MessageQueue(most=2, most_bytes=100)
    assert queue.put(frame(10), 0), "300 bytes, alone"
    assert not queue.put(frame(1), 0)
    assert queue.take() == frame(10)
    assert [queue.put(frame(5), 0), queue.put(frame(1), 0), queue.put(SourceEnd(), 0)] == [True, True, False]
    assert [queue.take(), queue.take(), queue.take()] == [frame(5), frame(1), None]
