"""Threads that come at any moment: a real engine, asked, told to add, remove and forget, and looked at, all at once."""

from __future__ import annotations

import itertools
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from longwatch.daemon import protocol
from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.engine import Engine
from longwatch.daemon.errors import Busy
from longwatch.daemon.protocol import Ask, Delta, ErrorReply, Forget, Reply, StreamsAdd, StreamsRemove
from longwatch.daemon.server.service import OnReply

from .engine_here import running_engine

SECONDS = 12
YARD = SourceConfig(url="scene://?seed=3&busy=0.9&start=2026-03-02T23:55:00", pace="fast", fps=2.0, gate_levels=0.0)
DOOR = SourceConfig(url="scene://?seed=5&busy=0.9", pace="real", fps=5.0, gate_levels=0.0)
QUESTIONS = ("did a red car appear?", "is the door open now?", "what happened?", "what was there at 23:56?")


class Requests:
    """What was asked of the engine, and how often each was answered for good."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self.ends: Counter[str] = Counter()
        self.internal: list[str] = []
        self.codes: Counter[str] = Counter()

    def new(self) -> str:
        """A request id that waits for its end."""
        request_id = str(next(self._numbers))
        with self._lock:
            self.ends[request_id] = 0
        return request_id

    def emit(self, reply: Reply) -> None:
        """Takes a reply, as the server does: from any thread, and as bytes."""
        protocol.encode(reply)
        if isinstance(reply, Delta):
            return
        with self._lock:
            self.ends[reply.request_id] += 1
            if isinstance(reply, ErrorReply):
                self.codes[reply.code] += 1
                if reply.code == "internal":
                    self.internal.append(reply.message)

    def refused(self, request_id: str) -> None:
        """The engine did not take it."""
        with self._lock:
            self.ends[request_id] += 1

    def open(self) -> int:
        """How many still wait."""
        with self._lock:
            return sum(count == 0 for count in self.ends.values())


@contextmanager
def threads_that_switch_at_every_step() -> Iterator[None]:
    """Python gives a thread five milliseconds at a time, which hides most races."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with running_engine(tmp_path, {"yard": YARD, "door": DOOR}) as engine:
        yield engine


class Visitors:
    """Threads that use an engine as clients, the server and the main thread do, until they are told to go."""

    def __init__(self, engine: Engine) -> None:
        self.requests, self.failures = Requests(), list[str]()
        self._engine, self._over = engine, threading.Event()

    def stay(self, seconds: float) -> None:
        """Lets all of them in at once; returns when everything they asked was answered, or a minute later."""
        visits = [
            lambda: self._ask("yard"),
            lambda: self._ask("door"),
            self._add_and_remove,
            self._forget,
            self._look,
        ]
        threads = [threading.Thread(target=self._guarded, args=(visit,)) for visit in visits]
        for thread in threads:
            thread.start()
        self._over.wait(seconds)  # or until one of them has failed
        self._over.set()
        for thread in threads:
            thread.join(30)
        deadline = time.monotonic() + 60
        while self.requests.open() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _guarded(self, visit: Callable[[], None]) -> None:
        try:
            visit()
        except Exception:
            self.failures.append(traceback.format_exc())
            self._over.set()

    def _ask(self, stream: str) -> None:
        for question in itertools.cycle(QUESTIONS):
            request_id = self.requests.new()
            key = (stream.encode(), request_id)
            self._engine.ask(Ask(request_id=request_id, question=question, stream=stream), key, self.requests.emit)
            if question == "what happened?":
                self._engine.cancel(key)
            while not self.requests.ends[request_id]:
                if self._over.wait(0.002):
                    return

    def _add_and_remove(self) -> None:
        for number in itertools.count():
            source = {"url": f"scene://?seed={number}", "pace": "fast"}
            self._order(self._engine.add_stream, StreamsAdd(request_id=self.requests.new(), name="new", source=source))
            self._over.wait(0.05)
            self._order(self._engine.remove_stream, StreamsRemove(request_id=self.requests.new(), name="new"))
            if self._over.wait(0.05):
                return

    def _forget(self) -> None:
        while not self._over.wait(0.3):
            for stream in self._engine.status("s").streams:
                since_ns = (stream.first_ns + stream.last_ns) // 2
                new = self.requests.new()
                span = Forget(request_id=new, stream=stream.name, since_ns=since_ns, until_ns=since_ns + 2 * 10**9)
                self._order(self._engine.forget, span)

    def _look(self) -> None:
        while not self._over.is_set():
            protocol.encode(self._engine.status("s"))
            self._engine.supervise()
            self._engine.integrity.run()

    def _order(self, order: Callable[[Any, OnReply], None], request: StreamsAdd | StreamsRemove | Forget) -> None:
        try:
            order(request, self.requests.emit)
        except Busy:
            self.requests.refused(request.request_id)


@pytest.mark.slow
def test_nobody_is_forgotten_or_answered_twice_whatever_comes_at_once(engine: Engine) -> None:
    visitors = Visitors(engine)
    with threads_that_switch_at_every_step():
        visitors.stay(SECONDS)
    assert not visitors.failures, visitors.failures[0]
    assert not visitors.requests.internal
    assert (engine.restarts, engine.integrity.failures) == (0, 0)
    wrong = {request: count for request, count in visitors.requests.ends.items() if count != 1}
    assert not wrong, f"of {len(visitors.requests.ends)} requests, ids with other than one final reply: {wrong}"
    assert len(visitors.requests.ends) > 50
