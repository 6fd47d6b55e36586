"""`RawCodec`: every bit as it is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..block import Geometry
from ..errors import CodecError
from ..scales import Scales
from .codec import LayerHead, check_length


class RawCodec:
    """Every bit as it is, for tensors of the given element size."""

    exact, scaled = True, False

    def __init__(self, name: str, number: int, bytes_each: int) -> None:
        self.name, self.number, self._bytes_each, self.bits = name, number, bytes_each, 8.0 * bytes_each

    def pack(self, keys: Tensor, values: Tensor, scales: Scales | None) -> bytes:
        """See `Codec.pack`; a tensor of another element size is refused rather than rounded."""
        if keys.element_size() != self._bytes_each:
            wider = {2: "raw16", 4: "raw32"}.get(keys.element_size(), "another codec")
            raise CodecError(f"{self.name} cannot keep {keys.dtype} bit for bit; set memory.codec to {wider}")
        both = torch.stack([keys, values]).cpu().contiguous()
        return both.view(torch.uint8).numpy().tobytes()

    def unpack(
        self, data: memoryview, geometry: Geometry, tokens: int, dtype: torch.dtype, scales: Scales | None
    ) -> tuple[Tensor, Tensor]:
        """See `Codec.unpack`."""
        layers, heads, dim = geometry
        check_length(data, 2 * layers * heads * tokens * dim * self._bytes_each)
        both = torch.frombuffer(bytearray(data), dtype=dtype).view(2, layers, heads, tokens, dim)
        return both[0], both[1]

    def unpack_keys(
        self,
        data: memoryview,
        geometry: Geometry,
        tokens: int,
        dtype: torch.dtype,
        scales: Scales | None,
        heads: Sequence[LayerHead],
    ) -> Tensor:
        """See `Codec.unpack_keys`."""
        layers, kv_heads, dim = geometry
        check_length(data, 2 * layers * kv_heads * tokens * dim * self._bytes_each)
        size = tokens * dim * self._bytes_each
        starts = [(layer * kv_heads + head) * size for layer, head in heads]
        picked = bytearray(b"".join(data[start : start + size] for start in starts))
        return torch.frombuffer(picked, dtype=dtype).view(len(heads), tokens, dim).float()
