"""`IntCodec`: a few whole bits a value, against the block's own ranges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..block import Geometry
from ..errors import CodecError
from ..scales import Scales
from .codec import LayerHead, check_length


class IntCodec:
    """A few bits a value, asymmetric: keys per channel, values per token (KIVI, arXiv 2402.02750).

    Keys are quantised before rotary, where each channel keeps its range over the block's tokens. On SmolLM2-135M eight
    and four bits cost nothing measurable, two cost 0.09 nats a token; keys per token would cost far more.
    """

    exact, scaled = False, False

    def __init__(self, name: str, number: int, bits: int) -> None:
        self.name, self.number, self._bits, self.bits = name, number, bits, float(bits)

    def pack(self, keys: Tensor, values: Tensor, scales: Scales | None) -> bytes:
        """See `Codec.pack`."""
        if keys.shape[-1] * self._bits % 8:
            raise CodecError(f"{self.name} cannot pack a head dim of {keys.shape[-1]}; set memory.codec to raw16")
        parts = [*_quantise(keys.float(), -2, self._bits), *_quantise(values.float(), -1, self._bits)]
        return b"".join(part.cpu().contiguous().view(torch.uint8).numpy().tobytes() for part in parts)

    def unpack(
        self, data: memoryview, geometry: Geometry, tokens: int, dtype: torch.dtype, scales: Scales | None
    ) -> tuple[Tensor, Tensor]:
        """See `Codec.unpack`."""
        layers, heads, dim = geometry
        size = layers * heads * tokens * dim * self._bits // 8
        per_key, per_value = layers * heads * dim, layers * heads * tokens
        check_length(data, 2 * size + 4 * per_key + 4 * per_value)
        codes, floats, offset = [], [], 0
        for count, axis_shape in ((per_key, (1, dim)), (per_value, (tokens, 1))):
            codes.append(_spread(data[offset : offset + size], (layers, heads, tokens, dim), self._bits))
            offset += size
            for _ in range(2):
                part = np.frombuffer(data, np.float16, count, offset).astype(np.float32)
                floats.append(torch.from_numpy(part).view(layers, heads, *axis_shape))
                offset += 2 * count
        keys = torch.addcmul(floats[0], codes[0], floats[1])
        values = torch.addcmul(floats[2], codes[1], floats[3])
        return keys.to(dtype), values.to(dtype)

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
        size = tokens * dim * self._bits // 8
        of_keys = layers * kv_heads * size
        check_length(data, 2 * of_keys + 4 * layers * kv_heads * (dim + tokens))
        places = [layer * kv_heads + head for layer, head in heads]
        codes = b"".join(data[place * size : (place + 1) * size] for place in places)
        ranges = np.frombuffer(data, np.float16, 2 * layers * kv_heads * dim, of_keys).reshape(2, -1, dim)
        low, step = torch.from_numpy(ranges[:, places].astype(np.float32))
        return torch.addcmul(low[:, None], _spread(codes, (len(heads), tokens, dim), self._bits), step[:, None])


def _quantise(x: Tensor, axis: int, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Packed codes `[L, H, T, D·bits/8]`, and float16 low and step over the axis, which they were computed against."""
    highest = 2**bits - 1
    low = x.amin(axis, keepdim=True).half()
    step = ((x.amax(axis, keepdim=True) - low.float()) / highest).clamp(min=2e-7).half()
    codes = ((x - low.float()) / step.float()).round_().clamp_(0, highest).to(torch.uint8)
    packed = codes[..., 0 :: 8 // bits]
    for n in range(1, 8 // bits):
        packed = packed | (codes[..., n :: 8 // bits] << n * bits)
    return packed, low, step


def _spread(data: bytes | memoryview, shape: tuple[int, ...], bits: int) -> Tensor:
    """Packed codes to float32 codes of the given shape."""
    packed = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return torch.stack([(packed >> n) & (2**bits - 1) for n in range(0, 8, bits)], -1).view(shape).float()
