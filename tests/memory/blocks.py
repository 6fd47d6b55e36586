"""Blocks for tests of the memory: a second each, from a morning in March on."""

from __future__ import annotations

import torch

from longwatch.memory.block import Block
from longwatch.memory.store import Store

MORNING_NS = 1_772_442_000_000_000_000  # 2026-03-02 09:00 UTC
DAY_NS = 86_400 * 1_000_000_000


def forget_span(store: Store, since_ns: int | None, until_ns: int | None) -> int:
    """Forgets what the yard has of a time so far. Returns how many blocks."""
    return len(store.eraser.carry_out(store.eraser.promise("yard", since_ns, until_ns)))


def forget(store: Store, *block_ids: int) -> int:
    """Forgets blocks of `make_block` and the yard by their seconds. Returns how many."""
    seconds = [MORNING_NS + block_id * 1_000_000_000 for block_id in block_ids]
    return sum(forget_span(store, second, second) for second in seconds)


def block_of(number: int, start_ns: int, keys: torch.Tensor, signature: torch.Tensor) -> Block:
    """Block `number` with these keys, which are its values too."""
    return Block(block_id=number, start_ns=start_ns, end_ns=start_ns, keys=keys, values=keys, signature=signature)


def make_block(number: int, start_ns: int | None = None, picture: bytes = b"jpeg") -> Block:
    """Block `number`, its contents drawn from the number."""
    generator = torch.Generator().manual_seed(number)
    start = MORNING_NS + number * 1_000_000_000 if start_ns is None else start_ns
    return Block(
        block_id=number,
        start_ns=start,
        end_ns=start,
        keys=torch.randn(2, 2, 5, 8, generator=generator).bfloat16(),
        values=torch.randn(2, 2, 5, 8, generator=generator).bfloat16(),
        signature=torch.randn(3, 8, generator=generator).half(),
        picture=picture + str(number).encode(),
    )
