"""`EcsqCodec`: entropy-coded scalar quantisation against the stream's scales.

    keys, values ─ − mean, ÷ (step · unit) ─ round ─ two to a byte, the few large ones apart ─ zstd

The unit of a value is the spread of its channel. The unit of a key is halfway between that and the spread of its head's
channels (geometric means), because an error in a wide channel of the keys moves attention more than in a narrow one.

A uniform quantiser with an entropy coder behind it is within a quarter bit of the best that any quantiser can do at
moderate and high rates (Gish and Pierce 1968). It has no range that a strange frame could leave: such a frame takes
more bytes, and its error is no larger. Equal pixels give equal tokens, and zstd finds those.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import numpy as np
import torch
import zstandard
from torch import Tensor

from ..block import Geometry
from ..decompress import decompress
from ..errors import CodecError, CorruptBlock
from ..scales import Scales
from .codec import LayerHead, check_length

_KEYS_LENGTH = struct.Struct(">I")
_LARGEST = 7  # codes from -7 to 7 take four bits; 15 in their place means that the code follows after all others
_ELSEWHERE = 15
_MOST_BYTES_A_PAIR = 9  # where both codes follow after all others, with four bytes each
_FURTHEST = 2**24  # whole numbers up to here are exact in float32


class EcsqCodec:
    """One step size for all keys, and another for all values.

    Models differ in how large a step they tolerate. The embedded model loses half an answer in a hundred with a key
    step of 1.2 and a value step of 0.7, but half of all answers with a value step of 1.2. SmolLM2-135M tolerates that
    value step. It loses 0.05 nats a token with a key step of 0.9 (0.13 if each channel's unit is its own spread), and
    0.15 with 1.2.

    Not done: packing only the difference from the block before. It would save 0.65 bits of three and 0.2 of two. But
    blocks would then need one another, and a damaged or forgotten block would take the next one with it.

    Args:
        key_step, value_step: a code's width in units. The error's spread is 0.29 of it.
        zstd_level: 19 saves 0.1 to 0.2 bits a value over 3, and packs six times as long.
    """

    exact, scaled = False, True

    def __init__(self, name: str, number: int, key_step: float, value_step: float, zstd_level: int) -> None:
        self.name, self.number = name, number
        self._coders = (_Coder(key_step, zstd_level), _Coder(value_step, zstd_level))
        self.bits = sum(2.05 - math.log2(coder.step) for coder in self._coders) / 2  # of a normal distribution

    def pack(self, keys: Tensor, values: Tensor, scales: Scales | None) -> bytes:
        """See `Codec.pack`."""
        assert scales is not None, f"{self.name} packs against scales"
        if keys.shape[-1] % 2:
            raise CodecError(f"{self.name} cannot pack a head dim of {keys.shape[-1]}; set memory.codec to raw16")
        if scales.spread.shape[1:3] != keys.shape[:2] or scales.spread.shape[-1] != keys.shape[-1]:
            raise CodecError(f"{self.name}: scales of {tuple(scales.spread.shape[1:])} do not fit {tuple(keys.shape)}")
        packed_keys, packed_values = (
            coder.pack((x.float() - mean.to(x.device)) / unit.to(x.device))
            for coder, x, mean, unit in zip(self._coders, (keys, values), scales.mean, _units(scales), strict=True)
        )
        return _KEYS_LENGTH.pack(len(packed_keys)) + packed_keys + packed_values

    def unpack(
        self, data: memoryview, geometry: Geometry, tokens: int, dtype: torch.dtype, scales: Scales | None
    ) -> tuple[Tensor, Tensor]:
        """See `Codec.unpack`."""
        assert scales is not None, f"{self.name} unpacks against scales"
        shape = (geometry.layers, geometry.kv_heads, tokens, geometry.head_dim)
        keys, values = (
            torch.addcmul(mean, coder.unpack(part, shape), unit)
            for coder, part, mean, unit in zip(self._coders, _split(data), scales.mean, _units(scales), strict=True)
        )
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
        assert scales is not None, f"{self.name} unpacks against scales"
        shape = (geometry.layers, geometry.kv_heads, tokens, geometry.head_dim)
        layers, of_layer = (list(x) for x in zip(*heads, strict=True))
        places = [layer * geometry.kv_heads + head for layer, head in heads]
        keys = self._coders[0].unpack(_split(data)[0], shape, places)
        return torch.addcmul(scales.mean[0, layers, of_layer], keys, _units(scales)[0][layers, of_layer])


class _Coder:
    """Numbers whose spread is about 1 to bytes and back."""

    def __init__(self, step: float, zstd_level: int) -> None:
        self.step, self._zstd_level = step, zstd_level
        centres = torch.tensor(_CODES) * step
        pairs = torch.stack([centres.repeat(16), centres.repeat_interleave(16)], -1)  # of a byte: low, then high
        self._pairs = pairs.numpy().view(np.int64)[:, 0]  # as one number each, which is looked up faster than two

    def pack(self, x: Tensor) -> bytes:
        """Bytes of float32 `[..., D]`, D even."""
        codes = (x / self.step).round_().clamp_(-_FURTHEST, _FURTHEST).to(torch.int32)
        large = codes.abs() > _LARGEST
        folded = torch.where(codes < 0, -2 * codes - 1, 2 * codes)
        halves = torch.where(large, _ELSEWHERE, folded).to(torch.uint8)
        pairs = halves[..., 0::2] | halves[..., 1::2] << 4
        parts = [pairs.contiguous(), codes[large].view(torch.uint8)]
        body = b"".join(part.cpu().numpy().tobytes() for part in parts)
        return zstandard.ZstdCompressor(level=self._zstd_level).compress(body)

    def unpack(self, part: memoryview, shape: tuple[int, int, int, int], places: Sequence[int] | None = None) -> Tensor:
        """Float32 of this shape, on the CPU.

        Args:
            places: only these, in the order given, of the first two axes taken as one.

        Raises:
            CorruptBlock: the bytes do not fit the shape.
        """
        count = math.prod(shape) // 2
        body = decompress(part, _MOST_BYTES_A_PAIR * count, "a packed block")
        pairs = np.frombuffer(body, np.uint8, min(count, len(body)))
        check_length(body[: len(pairs)], count)
        of_heads = pairs.reshape(shape[0] * shape[1], -1)
        counts = sum(np.count_nonzero(halves == _ELSEWHERE, axis=1) for halves in (of_heads & 15, of_heads >> 4))
        check_length(body[count:], 4 * int(counts.sum()))
        large = np.frombuffer(body, np.int32, offset=count)
        if places is not None:
            ends = counts.cumsum()
            large = np.concatenate([large[ends[place] - counts[place] : ends[place]] for place in places])
            of_heads = of_heads[places]
        values = torch.from_numpy(self._pairs[of_heads].view(np.float32)).flatten()
        values[values.isnan()] = torch.from_numpy(large.astype(np.float32)) * self.step
        return values.view(shape if places is None else (len(places), *shape[2:]))


_CODES = [*(code / 2 if code % 2 == 0 else -(code + 1) / 2 for code in range(_ELSEWHERE)), math.nan]


def _units(scales: Scales) -> tuple[Tensor, Tensor]:
    """What keys and values are counted in, `[L, H, 1, D]`."""
    keys, values = scales.spread
    return (keys * keys.log().mean(-1, keepdim=True).exp()).sqrt(), values


def _split(data: memoryview) -> tuple[memoryview, memoryview]:
    """The keys' part and the values'."""
    if len(data) < _KEYS_LENGTH.size:
        raise CorruptBlock(f"a packed block has {len(data)} bytes")
    end = _KEYS_LENGTH.size + _KEYS_LENGTH.unpack(data[: _KEYS_LENGTH.size])[0]
    return data[_KEYS_LENGTH.size : end], data[end:]
