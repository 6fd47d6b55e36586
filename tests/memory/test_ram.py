"""The RAM tier by itself: what leaves first, what never leaves, and what it takes."""

from __future__ import annotations

import random

from longwatch.memory.block import BlockInfo
from longwatch.memory.ram import BlockKey, RamTier, UnwrittenBlock


def key(number: int) -> BlockKey:
    return "yard", number


def unwritten(number: int) -> UnwrittenBlock:
    return UnwrittenBlock(BlockInfo(number, number, number, 5), b"jpeg")


def held(ram: RamTier, numbers: range) -> list[int]:
    return [number for number in numbers if key(number) in ram]


def test_what_was_used_longest_ago_leaves_first() -> None:
    ram = RamTier(300)
    for number in (1, 2, 3):
        ram.keep(key(number), bytes(100))
    assert ram.get(key(1)) == bytes(100)
    ram.keep(key(4), bytes(100))
    assert held(ram, range(1, 5)) == [1, 3, 4]
    assert ram.get(key(2)) is None
    ram.check_integrity()


def test_blocks_that_are_not_durable_stay_whatever_they_take() -> None:
    ram = RamTier(250)
    for number in range(1, 6):
        ram.add(key(number), bytes(100), unwritten(number))
    ram.keep(key(9), bytes(100))
    assert (held(ram, range(1, 10)), ram.size_bytes) == ([1, 2, 3, 4, 5], 500)
    ram.note_durable([key(2), key(3), key(4)])
    assert (held(ram, range(1, 10)), len(ram), ram.size_bytes) == ([1, 5], 2, 200)
    ram.check_integrity()


def test_a_block_is_known_with_its_newest_span_until_it_is_durable() -> None:
    ram = RamTier(1000)
    ram.add(key(1), b"record", unwritten(1))
    longer = unwritten(1).info._replace(end_ns=99)
    ram.extend(key(1), longer)
    assert ram.unwritten(key(1)) == UnwrittenBlock(longer, b"jpeg")
    ram.note_durable([key(1)])
    ram.extend(key(1), longer)
    assert ram.unwritten(key(1)) is None
    assert ram.get(key(1)) == b"record"


def test_a_faded_day_leaves_ram_but_for_what_is_not_durable_yet() -> None:
    ram = RamTier(1000)
    ram.keep(key(1), b"old record")
    ram.add(key(2), b"new record", unwritten(2))
    ram.drop_copies([key(1), key(2), key(3)])
    assert held(ram, range(1, 4)) == [2]
    ram.drop([key(2)])
    assert (len(ram), ram.size_bytes, ram.unwritten(key(2))) == (0, 0, None)


def test_the_books_balance_after_any_walk() -> None:
    rng, ram = random.Random(4), RamTier(2000)
    for _ in range(3000):
        some = key(rng.randrange(30))
        match rng.randrange(6):
            case 0:
                ram.add(some, bytes(rng.randrange(400)), unwritten(some[1]))
            case 1:
                ram.keep(some, bytes(rng.randrange(400)))
            case 2:
                ram.note_durable([some, key(rng.randrange(30))])
            case 3:
                ram.drop([some])
            case 4:
                ram.drop_copies([some])
            case 5:
                ram.get(some)
        ram.check_integrity()
