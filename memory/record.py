"""A block's bytes as they are kept: header, packed keys and values, checksum."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

import crc32c
import numpy as np
import torch
from torch import Tensor

from .block import Block, Geometry, Places
from .codec.codec import Codec, LayerHead
from .codec.registry import CODECS
from .decompress import check_values
from .errors import CorruptBlock, FingerprintMismatch, UnknownFormat
from .scales import DIGEST_BYTES, Scales

MAGIC, VERSION = b"LWBK", 2
_HEADER = struct.Struct(">4sBBBxHHHHIQQ16sQ")
_CHECKSUM = struct.Struct(">I")
_DTYPES = {1: torch.float16, 2: torch.bfloat16, 3: torch.float32}
_DTYPE_NUMBERS = {dtype: number for number, dtype in _DTYPES.items()}
_CODECS_BY_NUMBER = {codec.number: codec for codec in CODECS.values()}


def seal(payload: bytes, place: bytes = b"") -> bytes:
    """The payload with its CRC-32C behind it. The checksum covers `place` too, so it holds only there."""
    return payload + _CHECKSUM.pack(crc32c.crc32c(payload, crc32c.crc32c(place)))


def unseal(data: bytes, what: str, place: bytes = b"") -> memoryview:
    """The payload without its checksum.

    Raises:
        CorruptBlock: the checksum does not hold.
    """
    payload = memoryview(data)[: -_CHECKSUM.size]
    found = crc32c.crc32c(payload, crc32c.crc32c(place))
    if len(data) < _CHECKSUM.size or _CHECKSUM.unpack(data[-_CHECKSUM.size :])[0] != found:
        raise CorruptBlock(f"{what}: the checksum does not hold")
    return payload


class _Header(NamedTuple):
    """What stands before the payload. `whole` is 0, or how many tokens a thinned block had."""

    magic: bytes
    version: int
    codec: int
    dtype: int
    layers: int
    heads: int
    dim: int
    whole: int
    tokens: int
    start_ns: int
    end_ns: int
    made_by: bytes
    length: int


class Record(NamedTuple):
    """A checked record, its payload still packed."""

    codec: Codec
    geometry: Geometry
    tokens: int
    dtype: torch.dtype
    scales: Scales | None  # that fit its tokens
    places: Places | None
    payload: memoryview

    def unpack(self) -> tuple[Tensor, Tensor]:
        """Keys and values `[L, H, T, D]` on the CPU."""
        return self.codec.unpack(self.payload, self.geometry, self.tokens, self.dtype, self.scales)

    def unpack_keys(self, heads: Sequence[LayerHead]) -> Tensor:
        """Float32 keys `[len(heads), T, D]`."""
        return self.codec.unpack_keys(self.payload, self.geometry, self.tokens, self.dtype, self.scales, heads)


def write_record(block: Block, codec: Codec, fingerprint: bytes, scales: Scales | None = None) -> bytes:
    """Packs a block, against its stream's scales where the codec needs them. `fingerprint` is 16 bytes."""
    layers, heads, tokens, dim = block.keys.shape
    if codec.scaled:
        assert scales is not None, f"{codec.name} packs against scales"
        payload = scales.digest + codec.pack(block.keys, block.values, scales.fitting(tokens, block.places))
    else:
        payload = codec.pack(block.keys, block.values, None)
    if block.places is not None:
        payload = _pack_places(block.places) + payload
    header = _HEADER.pack(
        MAGIC,
        VERSION,
        codec.number,
        _DTYPE_NUMBERS[block.keys.dtype],
        layers,
        heads,
        dim,
        0 if block.places is None else block.places.of,
        tokens,
        block.start_ns,
        block.end_ns,
        fingerprint,
        len(payload),
    )
    return seal(header + payload)


def read_record(data: bytes, fingerprint: bytes, what: str, scales_of: Callable[[bytes], Scales | None]) -> Record:
    """Checks a record and finds its parts.

    Args:
        scales_of: the scales with a digest, or None where they cannot be read.

    Raises:
        UnknownFormat: it is no record, or one of a newer version.
        CorruptBlock: a checksum or length does not hold.
        FingerprintMismatch: another model or configuration made it.
    """
    body = unseal(data, what)
    _check_format(body, what)
    header, payload = _Header(*_HEADER.unpack(body[: _HEADER.size])), body[_HEADER.size :]
    _check_header(header, fingerprint, len(payload), what)
    codec, places, scales = _CODECS_BY_NUMBER[header.codec], None, None
    if header.whole:
        places, payload = _read_places(payload, header.whole), payload[-(-header.whole // 8) :]
        if len(places.kept) != header.tokens:
            raise CorruptBlock(f"{what}: {len(places.kept)} places do not fit {header.tokens} tokens")
    geometry = Geometry(header.layers, header.heads, header.dim)
    if codec.scaled:
        scales, payload = scales_of(bytes(payload[:DIGEST_BYTES])), payload[DIGEST_BYTES:]
        scales = _checked(scales, geometry, what).fitting(header.tokens, places)
    return Record(codec, geometry, header.tokens, _DTYPES[header.dtype], scales, places, payload)


def _check_format(body: memoryview, what: str) -> None:
    if body[:4] == MAGIC and len(body) > 4 and body[4] > VERSION:
        raise UnknownFormat(f"{what} has format {body[4]}, this version reads up to {VERSION}; upgrade longwatch")
    if len(body) < _HEADER.size or body[:4] != MAGIC:
        raise UnknownFormat(f"{what} is no Longwatch block")


def _check_header(header: _Header, fingerprint: bytes, length: int, what: str) -> None:
    if header.made_by != fingerprint:
        raise FingerprintMismatch(
            f"{what} was made by model {header.made_by.hex()}, not by {fingerprint.hex()}; "
            "use that model, or another memory.folder"
        )
    if header.length != length or header.codec not in _CODECS_BY_NUMBER or header.dtype not in _DTYPES:
        raise CorruptBlock(f"{what}: the header does not fit its payload")
    check_values(header.layers * header.heads * max(header.tokens, header.whole) * header.dim, what)


def _checked(scales: Scales | None, geometry: Geometry, what: str) -> Scales:
    if scales is None:
        raise CorruptBlock(f"{what}: the scales that it was packed against cannot be read")
    if (*scales.spread.shape[1:3], scales.spread.shape[-1]) != geometry:
        raise CorruptBlock(f"{what}: its scales are of another shape")
    return scales


def _pack_places(places: Places) -> bytes:
    """A bit for each token of the whole block."""
    bits = np.zeros(places.of, bool)
    bits[list(places.kept)] = True
    return np.packbits(bits).tobytes()


def _read_places(payload: memoryview, whole: int) -> Places:
    bits = np.unpackbits(np.frombuffer(payload[: -(-whole // 8)], np.uint8), count=whole)
    return Places(tuple(bits.nonzero()[0].tolist()), whole)
