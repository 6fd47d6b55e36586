"""A process that writes blocks and forgets some for ever, says what it has done, and is there to be killed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Collection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch

from longwatch.memory.settings import MemoryConfig
from longwatch.memory.store import Store
from longwatch.memory.tiers import Tiers

from .blocks import forget_span, make_block

FINGERPRINT = "ab" * 32


class Report(NamedTuple):
    """`durable`, `forgetting` or `forgotten`, and which blocks."""

    what: str
    block_ids: list[int]


def open_store(folder: Path) -> tuple[Store, Tiers]:
    """A store that commits all the time, and tiers that keep every bit."""
    config = MemoryConfig(folder=str(folder), codec="raw16", ram_bytes=1 << 20, commit_seconds=0.05, map_bytes=1 << 28)
    store, device = Store(config), torch.device("cpu")
    tiers = Tiers(store, codec="raw16", ram_bytes=1 << 20, fingerprint=FINGERPRINT, device=device, dtype=torch.bfloat16)
    return store, tiers


def write_for_ever(folder: Path, pipe: Connection[Any, Any], seed: int) -> None:
    """The process."""
    torch.set_num_threads(1)
    store, tiers = open_store(folder)
    rng, one_at_a_time, keep = random.Random(seed), threading.Lock(), store.writer.on_durable

    def say(what: str, block_ids: Collection[int]) -> None:
        with one_at_a_time:
            pipe.send(Report(what, list(block_ids)))

    def durable(stream: str, block_ids: list[int]) -> None:
        keep(stream, block_ids)
        say("durable", block_ids)

    store.writer.on_durable = durable
    while True:
        for _ in range(rng.randint(1, 40)):
            number = store.next_id("yard")
            tiers.spill("yard", make_block(number, picture=b"a picture " * rng.choice([0, 20, 600])))
        time.sleep(rng.uniform(0, 0.05))
        there = [info.block_id for info in store.infos("yard")]
        if there and rng.random() < 0.3:
            first = rng.randrange(len(there))
            gone = there[first : first + 3]
            say("forgetting", gone)
            tiers.drop("yard", gone)
            forget_span(store, make_block(gone[0]).start_ns, make_block(gone[-1]).end_ns)
            say("forgotten", gone)
