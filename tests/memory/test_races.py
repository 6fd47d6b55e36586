"""Threads over one store, switched as often as can be: nothing dies, nothing is lost, nothing comes back."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from longwatch.memory.errors import BlockNotFound, StorageError
from longwatch.memory.fading import fade_day
from longwatch.memory.settings import FadeStep
from longwatch.memory.store import Store
from longwatch.memory.tiers import Tiers

from .blocks import DAY_NS, MORNING_NS, make_block
from .test_store import config, tiers_on

pytestmark = pytest.mark.slow

SECONDS = 4.0
STREAMS = ("yard", "door", "gate")
HOUR_NS = 3_600_000_000_000


class Shared:
    """What the threads do to one store, and what each knows of it."""

    def __init__(self, tiers: Tiers) -> None:
        self.tiers, self.store = tiers, tiers.store
        self.put: dict[str, dict[int, int]] = {stream: {} for stream in STREAMS}  # ids, and when each was
        self.gone: dict[str, set[int]] = {stream: set() for stream in STREAMS}
        self.ended = threading.Event()
        self.failures: list[BaseException] = []

    def run(self, work: Callable[[random.Random], None], seed: int) -> threading.Thread:
        def loop() -> None:
            rng = random.Random(seed)
            try:
                while not self.ended.is_set():
                    work(rng)
            except BaseException as exc:
                self.failures.append(exc)
                self.ended.set()
                raise

        thread = threading.Thread(target=loop, name=work.__name__, daemon=True)
        thread.start()
        return thread

    def writes(self, stream: str) -> Callable[[random.Random], None]:
        """Each stream has one thread that gives it blocks, on days that step back and forth."""

        def write(rng: random.Random) -> None:
            if not self.store.has_room(stream):
                time.sleep(0.001)
                return
            block_id = self.store.next_id(stream)
            start_ns = MORNING_NS + rng.randrange(5) * DAY_NS + rng.randrange(8) * HOUR_NS
            self.put[stream][block_id] = start_ns
            block = make_block(block_id, start_ns)
            self.tiers.spill(stream, block)
            if rng.random() < 0.3:
                self.tiers.extend(stream, block.info, start_ns + rng.randrange(HOUR_NS))
            if rng.random() < 0.02:
                self.store.flush()

        return write

    def forget(self, rng: random.Random) -> None:
        stream, since_ns = rng.choice(STREAMS), MORNING_NS + rng.randrange(5 * 24) * HOUR_NS
        gone = self.store.eraser.carry_out(self.store.eraser.promise(stream, since_ns, since_ns + 2 * HOUR_NS))
        self.tiers.drop(stream, gone)
        self.gone[stream].update(gone)
        time.sleep(rng.uniform(0, 0.02))

    def drop(self, rng: random.Random) -> None:
        days = self.store.days()
        if len(days) > 6:
            stream, day, *_ = rng.choice(days)
            gone = self.store.drop(stream, day)
            self.tiers.drop(stream, gone)
            self.gone[stream].update(gone)
        time.sleep(rng.uniform(0, 0.1))

    def fade(self, rng: random.Random) -> None:
        stream, day, *_ = rng.choice(self.store.days() or [("yard", "never")])
        try:
            step = FadeStep(days=0, codec="int4")
            fade_day(self.tiers, stream, self.store.partition(stream, day), step, lambda: None)
        except BlockNotFound:  # it went meanwhile
            pass
        time.sleep(rng.uniform(0, 0.05))

    def look(self, rng: random.Random) -> None:
        stream = rng.choice(STREAMS)
        assert self.store.stats.disk_bytes >= 0
        assert self.tiers.stats.ram_bytes >= 0
        self.store.streams()
        self.tiers.check_integrity()
        for found in (self.store.infos(stream), self.tiers.signatures(stream)):
            _run_through(found)
        for block_id in rng.sample(sorted(self.put[stream]), min(3, len(self.put[stream]))):
            try:
                (block,) = self.tiers.fetch(stream, [block_id])
                assert block.start_ns == self.put[stream][block_id]
            except BlockNotFound:  # forgotten, or will be
                pass


def _run_through(found: Iterator[object]) -> None:
    try:
        for _ in found:
            pass
    except BlockNotFound:  # its day went meanwhile
        pass


@pytest.fixture
def switched() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("switched")
def test_a_store_that_many_threads_use_at_once_keeps_its_books(tmp_path: Path) -> None:
    store = Store(config(tmp_path, ram_bytes=1 << 20))
    shared = Shared(tiers_on(store, ram_bytes=200_000))
    threads = [shared.run(shared.writes(stream), seed) for seed, stream in enumerate(STREAMS)]
    for seed, work in enumerate((shared.forget, shared.drop, shared.fade, shared.look, shared.look)):
        threads.append(shared.run(work, 100 + seed))
    shared.ended.wait(SECONDS)
    shared.ended.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), thread.name
    assert shared.failures == []
    store.flush()
    store.check_integrity()
    shared.tiers.check_integrity()
    assert shared.tiers.stats.damaged == 0
    for stream in STREAMS:
        there = {info.block_id for info in store.infos(stream)}
        assert not there & shared.gone[stream], "back from the dead"
        assert there | shared.gone[stream] == set(shared.put[stream]), "lost"
    store.close()
    again = Store(config(tmp_path))
    for stream in STREAMS:
        assert {info.block_id for info in again.infos(stream)} == set(shared.put[stream]) - shared.gone[stream]
        assert again.next_id(stream) == max(shared.put[stream]) + 1
    again.close()


def test_a_store_of_many_days_is_read_while_streams_are_added(tmp_path: Path) -> None:
    store, ended = Store(config(tmp_path)), threading.Event()
    failures: list[BaseException] = []

    def look() -> None:
        try:
            while not ended.is_set():
                assert store.stats.last_error == ""
                store.days()
                store.partitions("s1")
        except (RuntimeError, StorageError) as exc:
            failures.append(exc)

    watchers = [threading.Thread(target=look) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    tiers = tiers_on(store)
    for number in range(1, 60):
        tiers.spill(f"s{number % 30}", make_block(number, MORNING_NS + number * DAY_NS))
        if number % 5 == 0:
            store.flush()
    ended.set()
    for watcher in watchers:
        watcher.join()
    store.flush()
    assert failures == []
    assert len(store.days()) == 59
    store.close()
