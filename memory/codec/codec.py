"""`Codec`: what every way of packing a block's keys and values promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..block import Geometry
from ..errors import CorruptBlock
from ..scales import Scales

LayerHead = tuple[int, int]


class Codec(Protocol):
    """A way of packing keys and values. Stateless: the same block and scales always give the same bytes.

    Attributes:
        number: written into every record.
        bits: about how many a value takes. A day fades only to fewer.
        exact: whether every bit comes back.
        scaled: whether it needs the stream's scales. The others ignore them.
    """

    name: str
    number: int
    bits: float
    exact: bool
    scaled: bool

    def pack(self, keys: Tensor, values: Tensor, scales: Scales | None) -> bytes:
        """Bytes of `[L, H, T, D]` keys and values, on any device.

        Raises:
            CodecError: the tensors do not fit this codec.
        """

    def unpack(
        self, data: memoryview, geometry: Geometry, tokens: int, dtype: torch.dtype, scales: Scales | None
    ) -> tuple[Tensor, Tensor]:
        """Keys and values `[L, H, T, D]` on the CPU, in the dtype that the block had when it was packed.

        Raises:
            CorruptBlock: the length does not fit the shape.
        """

    def unpack_keys(
        self,
        data: memoryview,
        geometry: Geometry,
        tokens: int,
        dtype: torch.dtype,
        scales: Scales | None,
        heads: Sequence[LayerHead],
    ) -> Tensor:
        """Float32 keys `[len(heads), T, D]` of some (layer, KV head) pairs only."""


def check_length(data: bytes | memoryview, expected: int) -> None:
    """Raises CorruptBlock where a payload's length does not fit its shape."""
    if len(data) != expected:
        raise CorruptBlock(f"a packed block has {len(data)} bytes where its shape needs {expected}")
