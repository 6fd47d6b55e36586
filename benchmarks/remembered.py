"""Keys and values through a real memory, and what the embedded model still knows behind them.

A peer stands beside the codecs: transformers' own quantised cache, each block quantised by itself.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple, Protocol

import embedded
import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import QuantoQuantizedLayer

from longwatch.memory.block import Block
from longwatch.memory.codec.registry import CODECS
from longwatch.memory.fading import fade_day
from longwatch.memory.settings import FadeStep, MemoryConfig
from longwatch.memory.store import Store
from longwatch.memory.streamscales import SCALED_ON
from longwatch.memory.tiers import Tiers
from longwatch.yard.asker import Asker
from longwatch.yard.kinds import QUESTION_KINDS, agrees

FIRST_SEED = 96_000
QUANTO = {"quanto4": 4, "quanto2": 2}
FADED = {  # packed with the default codec, and later anew
    "faded: ecsq2": FadeStep(days=0, codec="ecsq2"),
    "faded: ecsq1": FadeStep(days=0, codec="ecsq1"),
    "faded: ecsq1, 1/2 of tokens": FadeStep(days=0, codec="ecsq1", tokens=0.5),
    "faded: ecsq1, 1/4 of tokens": FadeStep(days=0, codec="ecsq1", tokens=0.25),
}
GATED = {"token gate at cosine 0.95": 0.95, "token gate at cosine 0.9": 0.9}  # with the default codec


class Memory(Protocol):
    """Takes blocks in one by one and gives each back as it will be recalled."""

    def spill(self, stream: str, block: Block) -> Block:
        """The block as it comes back."""


class Quanto:
    """transformers' quantised cache over single blocks; counts a scale and a shift of 16 bits for each group."""

    def __init__(self, bits: int) -> None:
        self._layer, self.bits = QuantoQuantizedLayer(nbits=bits, q_group_size=64), bits + 2 * 16 / 64

    def spill(self, stream: str, block: Block) -> Block:
        """See `Memory.spill`."""
        keys, values = (torch.stack([self._once(layer) for layer in x.float()]) for x in (block.keys, block.values))
        return replace(block, keys=keys.to(block.keys.dtype), values=values.to(block.values.dtype))

    def _once(self, layer: Tensor) -> Tensor:
        packed = self._layer._quantize(layer[None].contiguous(), axis=0)
        unpacked: Tensor = self._layer._dequantize(packed)[0]
        return unpacked


class Taken(NamedTuple):
    """What blocks took on disk, those before the stream's scales not counted; `values` as of whole blocks."""

    bytes: int
    values: int

    @property
    def bits(self) -> float:
        """Bits for each key and value."""
        return 8 * self.bytes / self.values


Recall = Callable[[list[Block]], tuple[list[Block], Taken]]


@contextmanager
def remembering(name: str, dtype: torch.dtype, text_tokens: int) -> Iterator[tuple[Memory, Recall]]:
    """A memory that packs so, and what gives all of its stream `it` back as it is recalled later, and what it took.

    Args:
        name: a codec, a peer, or one of `FADED` or `GATED`.
    """
    if name in QUANTO:
        peer = Quanto(QUANTO[name])
        yield peer, lambda blocks: (blocks, _as_peer(peer, blocks))
        return
    step = FADED.get(name)
    codec = name if name in CODECS else MemoryConfig().codec
    with tempfile.TemporaryDirectory() as folder:
        store = Store(MemoryConfig(folder=folder, codec=codec, map_bytes=1 << 32))  # type: ignore[arg-type]
        tiers = Tiers(
            store,
            codec=codec,
            ram_bytes=1 << 28,
            fingerprint="ab" * 32,
            device=torch.device("cpu"),
            dtype=dtype,
            text_tokens=text_tokens,
        )

        def recall(blocks: list[Block]) -> tuple[list[Block], Taken]:
            store.flush(timeout_seconds=300)
            if step is not None:
                for day in store.partitions("it"):
                    fade_day(tiers, "it", day, step, on_block=lambda: None)
            ids = [block.block_id for block in blocks][SCALED_ON:]
            scales = sum(2 * len(s.packed) for day in store.partitions("it") for s in day.blocks.scales().values())
            took = Taken(
                sum(len(store.blocks_with("it", i).record(i)) for i in ids) + scales,
                len(ids) * 2 * blocks[0].keys.numel(),
            )
            return [tiers.fetch("it", [block.block_id])[0] for block in blocks], took

        try:
            yield tiers, recall
        finally:
            store.close()


def _as_peer(peer: Quanto, blocks: list[Block]) -> Taken:
    values = 2 * sum(block.keys.numel() for block in blocks)
    return Taken(round(peer.bits * values / 8), values)


class Yard(NamedTuple):
    """What one yard's questions say of a codec."""

    right: list[bool]
    taken: Taken


def on_yard(seed: int, name: str) -> Yard:
    """The same questions about the same yard, whatever the codec; what is recalled has faded, the newest have not."""
    lm = embedded.model()
    with remembering(name, lm.dtype, lm.prompt.clock_tokens) as (memory, recall):
        kept = embedded.watch(lm, seed, functools.partial(memory.spill, "it"), GATED.get(name, 1.0))
        old, took = recall(kept.blocks)
    rng, right = np.random.default_rng([seed, 8]), []
    for _ in range(embedded.CONTEXTS):
        frames = embedded.draw_context(len(kept.moments), rng)
        past, recent = frames[: -embedded.RECENT], frames[-embedded.RECENT :]
        context = embedded.lay_out(lm, [*(old[i] for i in past), *(kept.blocks[i] for i in recent)])
        asker = Asker([kept.moments[i] for i in frames], rng)
        for kind in QUESTION_KINDS.values():
            question = kind.draw(asker)
            if question is not None:
                right.append(agrees(question, embedded.answer(lm, context, question.text)))
    return Yard(right, took)
