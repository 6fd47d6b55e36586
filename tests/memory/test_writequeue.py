"""What waits to be written, without a thread, a clock or a disk."""

from __future__ import annotations

import random

import torch

from longwatch.memory.block import BlockInfo
from longwatch.memory.book import Erasure
from longwatch.memory.rows import Entry
from longwatch.memory.writegroup import WriteGroup
from longwatch.memory.writequeue import WriteQueue, WriteResult

from .blocks import DAY_NS, MORNING_NS

DAY = "2026-03-02"
LATEST_NS = 2**63 - 1


def entry(number: int, size: int = 1000, start_ns: int = MORNING_NS) -> Entry:
    start = start_ns + number * 1_000_000_000
    return Entry(BlockInfo(number, start, start, 5), bytes(size), torch.empty(0, 0, dtype=torch.float16), b"")


def queue_of(*numbers: int, room_bytes: int = 1 << 20, commit_bytes: int = 1 << 16) -> WriteQueue:
    """A queue of the yard's first day."""
    queue = WriteQueue(room_bytes=room_bytes, commit_seconds=1.0, commit_bytes=commit_bytes)
    for number in numbers:
        queue.put("yard", entry(number))
    return queue


def take(queue: WriteQueue, stream: str = "yard", day: str = DAY) -> WriteGroup:
    batch = queue.take((stream, day))
    assert batch is not None
    return batch


def ids(batch: WriteGroup) -> list[int]:
    return [info.block_id for info in batch.infos]


def test_a_batch_is_as_large_as_a_commit_and_holds_one_block_at_least() -> None:
    queue = queue_of(1, 2, 3, 4, commit_bytes=2500)
    queue.put("yard", entry(5, size=9000))
    taken = []
    while queue.queue_size.blocks:
        batch = take(queue)
        taken.append(ids(batch))
        queue.settle([WriteResult(batch, "", False)], now=0.0)
    assert taken == [[1, 2, 3], [4, 5]]
    queue.check_integrity()


def test_new_ends_wait_for_the_last_block_of_their_group() -> None:
    """An end that came before its block would find nothing to change."""
    queue = queue_of(1, 2, 3, 4, commit_bytes=2500)
    queue.extend("yard", entry(1).info, 7)
    first = take(queue)
    assert (ids(first), first.ends) == ([1, 2, 3], {})
    queue.settle([WriteResult(first, "", False)], now=0.0)
    last = take(queue)
    assert (ids(last), {i: end.end_ns for i, end in last.ends.items()}) == ([4], {1: 7})


def test_what_failed_waits_longer_each_time_and_at_most_five_seconds() -> None:
    queue, now, waits = queue_of(1), 100.0, []
    for _ in range(5):
        assert queue.due(now) == [("yard", DAY)]
        batch = take(queue)
        queue.settle([WriteResult(batch, "full", False)], now)
        wait = next(w for w in (0.5, 1.0, 2.0, 4.0, 5.0, 6.0) if queue.due(now + w))
        waits.append(wait)
        now += wait
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert queue.error() == queue.error("yard") == "full"
    assert queue.error("door") == ""
    queue.settle([WriteResult(take(queue), "", False)], now)
    assert queue.error() == ""


def test_a_group_that_waits_for_its_time_does_not_make_a_commit_worth_while() -> None:
    queue = queue_of(1, 2, 3, commit_bytes=2500)
    assert queue.is_worth_writing
    queue.settle([WriteResult(take(queue), "full", False)], now=0.0)
    assert not queue.is_worth_writing
    queue.put("door", entry(1))
    assert not queue.is_worth_writing
    queue.hurry()
    assert queue.is_worth_writing
    assert set(queue.due(0.0)) == {("yard", DAY), ("door", DAY)}


def test_what_is_put_back_comes_before_what_was_put_later() -> None:
    queue = queue_of(1, 2)
    queue.extend("yard", entry(1).info, 5)
    take(queue)
    queue.put("yard", entry(3))
    queue.extend("yard", entry(1).info, 9)
    assert queue.is_writing("yard")
    queue.put_back()
    assert not queue.is_writing("yard")
    batch = take(queue)
    assert ids(batch) == [1, 2, 3]
    assert {i: end.end_ns for i, end in batch.ends.items()} == {1: 9}


def test_hopeless_blocks_are_gone_and_the_others_of_their_batch_are_not() -> None:
    queue = queue_of(1, 2, 3)
    one, two, three = take(queue).singles()
    queue.settle([WriteResult(one, "", False), WriteResult(two, "never", True), WriteResult(three, "full", False)], 0)
    assert queue.queue_size == (1, 1000)
    queue.check_integrity()
    assert ids(take(queue)) == [3]


def test_what_was_put_before_is_done_while_more_is_put() -> None:
    queue = queue_of(1, 2)
    until = queue.hurry()
    batch = take(queue)
    queue.put("yard", entry(3))
    queue.put("door", entry(1))
    assert (queue.is_done(until), queue.late(until)) == (False, 2)
    queue.settle([WriteResult(batch, "", False)], now=0.0)
    assert (queue.is_done(until), queue.late(until)) == (True, 0)
    assert not queue.is_done(queue.hurry())


def test_an_erasure_takes_blocks_by_their_newest_end_and_frees_their_room() -> None:
    queue = queue_of(1, 2, 3)
    queue.extend("yard", entry(1).info, entry(3).info.end_ns)
    gone, ends = queue.take_out(Erasure(1, "yard", entry(3).info.start_ns, LATEST_NS, last_id=2))
    assert [(info.block_id, info.end_ns) for info in gone] == [(1, entry(3).info.end_ns)]
    assert ends == {1: entry(3).info.end_ns}
    assert queue.queue_size == (2, 2000)
    queue.check_integrity()


def test_a_stream_gets_at_most_four_times_what_it_leaves_free() -> None:
    queue = queue_of(room_bytes=10_000)
    number = 0
    while queue.has_room("yard"):
        number += 1
        queue.put("yard", entry(number))
    assert number == 8
    assert queue.has_room("door")


def test_the_books_balance_after_any_walk_and_every_block_ends_once() -> None:
    rng, queue = random.Random(3), queue_of(commit_bytes=4000)
    put, ended = set[int](), list[int]()
    for number in range(1, 600):
        stream, start_ns = rng.choice(("yard", "door")), MORNING_NS + rng.randrange(2) * DAY_NS
        queue.put(stream, entry(number, rng.randrange(1, 3000), start_ns))
        put.add(number)
        if rng.random() < 0.3:
            queue.extend(stream, entry(number, 0, start_ns).info, LATEST_NS)
        if rng.random() < 0.05:
            gone, _ = queue.take_out(Erasure(1, stream, 0, LATEST_NS, last_id=number - 20))
            ended += [info.block_id for info in gone]
        for key in queue.due(float(number)):
            batch = queue.take(key)
            if batch is None:
                continue
            error, hopeless = rng.choice((("", False), ("full", False), ("never", True)))
            queue.settle([WriteResult(batch, error, hopeless)], float(number))
            ended += ids(batch) if hopeless or not error else []
        queue.check_integrity()
    queue.hurry()
    while keys := queue.due(0.0):
        for key in keys:
            if (batch := queue.take(key)) is not None:
                queue.settle([WriteResult(batch, "", False)], 0.0)
                ended += ids(batch)
    assert sorted(ended) == sorted(put)
    assert queue.queue_size == (0, 0)
