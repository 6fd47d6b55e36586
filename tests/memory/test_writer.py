"""The writer: an error belongs to its day, the thread is started again, and flush waits for what was put before it."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest
import torch

from longwatch.memory.block import BlockInfo
from longwatch.memory.book import Erasure
from longwatch.memory.errors import StoreUnwritable
from longwatch.memory.rows import Entry
from longwatch.memory.writer import Writer

from .blocks import DAY_NS, MORNING_NS

LATEST_NS = 2**63 - 1


def entry(number: int, start_ns: int | None = None, size: int = 1000) -> Entry:
    start = MORNING_NS + number * 1_000_000_000 if start_ns is None else start_ns
    return Entry(BlockInfo(number, start, start, 5), bytes(size), torch.empty(0, 0, dtype=torch.float16), b"")


class Disk:
    """What is written, and for each stream an error that it has now."""

    def __init__(self) -> None:
        self.written: dict[str, list[int]] = {}
        self.ends: dict[int, int] = {}
        self.errors: dict[str, Exception | type[BaseException]] = {}
        self.unwritable: set[int] = set()
        self.slow = threading.Event()
        self.slow.set()

    def write(self, stream: str, day: str, entries: list[Entry], ends: Mapping[int, int]) -> None:
        self.slow.wait(10)
        if stream in self.errors:
            raise self.errors[stream]
        ids = [entry.info.block_id for entry in entries]
        if self.unwritable.intersection([*ids, *ends]):
            raise struct.error("a number that does not fit")
        self.written.setdefault(stream, []).extend(ids)
        self.ends.update(ends)


@contextmanager
def writer_on(disk: Disk, room_bytes: int = 1 << 20, commit_seconds: float = 0.05) -> Iterator[Writer]:
    writer = Writer(disk.write, room_bytes=room_bytes, commit_seconds=commit_seconds, commit_bytes=1 << 16)
    try:
        yield writer
        writer.check_integrity()
    finally:
        disk.slow.set()
        writer.close()


def soon(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds() and time.monotonic() < end:
        time.sleep(0.005)
    assert holds()


def test_a_stream_that_cannot_be_written_keeps_nobody_else_from_it() -> None:
    disk = Disk()
    disk.errors["yard"] = StoreUnwritable("the yard's day is full")
    with writer_on(disk) as writer:
        durable: list[tuple[str, int]] = []
        writer.on_durable = lambda stream, ids: durable.extend((stream, block_id) for block_id in ids)
        for number in range(1, 6):
            writer.put("yard", entry(number))
            writer.put("door", entry(number))
        soon(lambda: disk.written.get("door") == [1, 2, 3, 4, 5])
        soon(lambda: writer.error("yard") == "the yard's day is full")
        assert writer.error("door") == ""
        assert writer.queue_size.blocks == 5
        with pytest.raises(StoreUnwritable, match="5 blocks could not be written: the yard's day is full"):
            writer.flush(0.2)
        del disk.errors["yard"]
        writer.flush(10)
        assert disk.written["yard"] == [1, 2, 3, 4, 5]
        assert (writer.error(), writer.queue_size) == ("", (0, 0))
        soon(lambda: len(durable) == 10)


def test_a_stream_in_trouble_leaves_room_for_the_others() -> None:
    disk = Disk()
    disk.errors["yard"] = StoreUnwritable("full")
    with writer_on(disk, room_bytes=100_000) as writer:
        number = 0
        while writer.has_room("yard"):
            number += 1
            writer.put("yard", entry(number))
        assert 70 < number < 90
        assert writer.has_room("door")
        writer.put("door", entry(1))
        soon(lambda: disk.written.get("door") == [1])
        del disk.errors["yard"]
        writer.flush(10)
        assert writer.has_room("yard")


def test_flush_waits_for_what_was_put_before_it_and_for_nothing_else() -> None:
    disk, stopping = Disk(), threading.Event()
    with writer_on(disk) as writer:

        def go_on_putting() -> None:
            number = 0
            while not stopping.wait(0.001):
                number += 1
                writer.put("yard", entry(number))

        busy = threading.Thread(target=go_on_putting)
        busy.start()
        try:
            for number in range(1, 20):
                writer.put("door", entry(number))
                writer.flush(10)
                assert disk.written["door"][-1] == number
        finally:
            stopping.set()
            busy.join()
        writer.flush(10)


def test_a_new_end_is_written_behind_its_block_and_the_newest_wins() -> None:
    disk = Disk()
    with writer_on(disk, commit_seconds=60) as writer:
        block = entry(1)
        writer.put("yard", block)
        for end in (5, 9, 7):
            writer.extend("yard", block.info, block.info.start_ns + end)
        writer.flush(10)
        assert disk.ends == {1: block.info.start_ns + 7}
        disk.errors["yard"] = StoreUnwritable("full")
        writer.extend("yard", block.info, block.info.start_ns + 8)
        with pytest.raises(StoreUnwritable):
            writer.flush(0.1)
        writer.extend("yard", block.info, block.info.start_ns + 20)
        del disk.errors["yard"]
        writer.flush(10)
        assert disk.ends == {1: block.info.start_ns + 20}


@pytest.mark.parametrize("start_ns", [-1, 2**63, 2**64, 10_400_000_000 * 10**9])
def test_a_time_that_no_day_can_have_is_given_up_and_said(start_ns: int) -> None:
    disk, lost = Disk(), []
    with writer_on(disk) as writer:
        writer.on_lost = lambda stream, blocks, why: lost.append((stream, [info.block_id for info in blocks], why))
        writer.put("yard", entry(1))
        writer.put("yard", entry(2, start_ns))
        writer.put("yard", entry(3))
        writer.flush(10)
        assert disk.written == {"yard": [1, 3]}
        assert lost == [("yard", [2], f"its time, {start_ns} to {start_ns} ns, is none between 1970 and 2262")]
        assert writer.lost_blocks == 1


def test_whatever_error_one_block_has_costs_that_block_alone() -> None:
    disk, lost = Disk(), []
    disk.unwritable = {3}
    with writer_on(disk, commit_seconds=60) as writer:
        writer.on_lost = lambda stream, blocks, why: lost.append(([info.block_id for info in blocks], why))
        for number in range(1, 6):
            writer.put("yard", entry(number))
        writer.flush(10)
        assert disk.written == {"yard": [1, 2, 4, 5]}
        assert lost == [([3], "yard 2026-03-02: error: a number that does not fit")]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # it is to die
def test_a_writer_that_dies_is_started_again_and_loses_nothing() -> None:
    disk = Disk()
    with writer_on(disk) as writer:
        assert not writer.supervise()
        disk.errors["yard"] = SystemExit
        writer.put("yard", entry(1))
        soon(lambda: not writer.alive)
        writer.put("yard", entry(2))
        with pytest.raises(StoreUnwritable, match="2 blocks could not be written: the writer has died"):
            writer.flush(0.1)
        del disk.errors["yard"]
        assert writer.supervise()
        assert writer.restarts == 1
        writer.flush(10)
        assert disk.written == {"yard": [1, 2]}


def test_what_is_to_be_erased_leaves_the_queue_and_new_ends_count() -> None:
    disk = Disk()
    with writer_on(disk, commit_seconds=60) as writer:
        for number in range(1, 7):
            writer.put("yard", entry(number))
        writer.put("door", entry(1))
        writer.extend("yard", entry(1).info, MORNING_NS + 90_000_000_000)
        writer.extend("yard", entry(5).info, MORNING_NS + 6_000_000_000)
        since, until = MORNING_NS + 3_000_000_000, MORNING_NS + 4_000_000_000
        gone, ends = writer.take_out(Erasure(1, "yard", since, until, last_id=3))
        assert [(info.block_id, info.end_ns - MORNING_NS) for info in gone] == [(1, 90 * 10**9), (3, 3 * 10**9)]
        assert ends == {1: MORNING_NS + 90 * 10**9, 5: MORNING_NS + 6 * 10**9}
        writer.flush(10)
        assert disk.written == {"yard": [2, 4, 5, 6], "door": [1]}
        assert disk.ends == {5: MORNING_NS + 6 * 10**9}


def test_what_is_being_written_is_written_before_the_queue_is_searched() -> None:
    disk = Disk()
    disk.slow.clear()
    with writer_on(disk) as writer:
        writer.put("yard", entry(1))
        soon(lambda: writer._queue.is_writing("yard"))
        writer.put("yard", entry(2, MORNING_NS + DAY_NS))
        threading.Timer(0.1, disk.slow.set).start()
        gone, _ = writer.take_out(Erasure(1, "yard", 0, LATEST_NS, last_id=9))
        assert disk.written["yard"][0] == 1
        assert [info.block_id for info in gone] in ([], [2])
