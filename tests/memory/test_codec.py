"""Codecs: what comes back, how exact, and that one head's keys need not the rest."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from longwatch.memory.block import Block, Geometry
from longwatch.memory.codec import CODECS
from longwatch.memory.errors import CodecError, CorruptBlock, FingerprintMismatch, UnknownFormat
from longwatch.memory.record import read_record, seal, write_record

FINGERPRINT = bytes(range(16))


def tensors(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Keys whose channels differ in range, as real ones do, and values."""
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(shape, generator=generator) * torch.linspace(0.1, 8, shape[-1]) + 3
    return keys.to(dtype), torch.randn(shape, generator=generator).to(dtype)


def block(dtype: torch.dtype = torch.bfloat16, shape: tuple[int, ...] = (2, 2, 7, 8), seed: int = 0) -> Block:
    keys, values = tensors(shape, dtype, seed)
    return Block(block_id=5, start_ns=10, end_ns=20, keys=keys, values=values, signature=torch.zeros(1, 4).half())


@pytest.mark.parametrize(
    ("codec", "dtype"), [("raw16", torch.float16), ("raw16", torch.bfloat16), ("raw32", torch.float32)]
)
def test_a_raw_block_comes_back_bit_for_bit(codec: str, dtype: torch.dtype) -> None:
    kept = block(dtype)
    keys, values = read_record(write_record(kept, CODECS[codec], FINGERPRINT), FINGERPRINT, "it").unpack()
    assert keys.dtype == dtype
    assert torch.equal(keys.view(torch.uint8), kept.keys.view(torch.uint8))
    assert torch.equal(values.view(torch.uint8), kept.values.view(torch.uint8))


@settings(max_examples=40, deadline=None)
@given(
    layers=st.integers(1, 4),
    heads=st.integers(1, 3),
    tokens=st.integers(1, 33),
    quarter_dim=st.integers(1, 8),
    seed=st.integers(0, 999),
    bits=st.sampled_from((2, 4, 8)),
)
def test_an_int_codec_is_within_half_a_step_of_its_channels_range(
    layers: int, heads: int, tokens: int, quarter_dim: int, seed: int, bits: int
) -> None:
    keys, values = tensors((layers, heads, tokens, 4 * quarter_dim), torch.float32, seed)
    codec = CODECS[f"int{bits}"]
    data = memoryview(codec.pack(keys, values))
    assert len(data) == keys.numel() * 2 * bits // 8 + 4 * layers * heads * (4 * quarter_dim + tokens)
    back = codec.unpack(data, Geometry(layers, heads, 4 * quarter_dim), tokens, torch.float32)
    for original, restored, axis in ((keys, back[0], 2), (values, back[1], 3)):
        step = (original.amax(axis, keepdim=True) - original.amin(axis, keepdim=True)) / (2**bits - 1)
        slack = 0.01 * original.abs().amax() + 1e-5  # the range itself is kept in 16 bits
        assert ((original - restored).abs() <= 0.5 * step + slack).all()


def test_int4_takes_a_quarter_of_raw16_and_the_ranges_no_more() -> None:
    """A range is 4 bytes for each of a head's D key channels and T value tokens, beside 4·T·D bytes raw."""
    keys, values = tensors((6, 2, 196, 64), torch.bfloat16)
    ratio = len(CODECS["int4"].pack(keys, values)) / len(CODECS["raw16"].pack(keys, values))
    assert ratio == pytest.approx(0.25 + 1 / 196 + 1 / 64)


@pytest.mark.parametrize(
    ("codec", "dtype"),
    [
        ("raw16", torch.bfloat16),
        ("raw32", torch.float32),
        ("int8", torch.float32),
        ("int4", torch.float32),
        ("int2", torch.float32),
    ],
)
def test_one_heads_keys_equal_those_of_the_whole_block(codec: str, dtype: torch.dtype) -> None:
    record = read_record(write_record(block(dtype), CODECS[codec], FINGERPRINT), FINGERPRINT, "it")
    keys, _ = record.unpack()
    some = record.unpack_keys([(1, 0), (0, 1)])
    assert torch.equal(some, torch.stack([keys[1, 0], keys[0, 1]]).float())


def test_a_raw_codec_refuses_to_round_and_says_what_to_set() -> None:
    with pytest.raises(CodecError, match=r"raw16 cannot keep torch\.float32 bit for bit; set memory\.codec to raw32"):
        write_record(block(torch.float32), CODECS["raw16"], FINGERPRINT)


@pytest.mark.parametrize("codec", ["raw16", "int4"])
def test_a_flipped_bit_anywhere_is_found(codec: str) -> None:
    data = write_record(block(), CODECS[codec], FINGERPRINT)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        with pytest.raises((CorruptBlock, UnknownFormat)):
            read_record(bytes(damaged), FINGERPRINT, "it")


def test_a_cut_off_record_is_found_at_any_length() -> None:
    data = write_record(block(), CODECS["int4"], FINGERPRINT)
    for length in range(0, len(data), 7):
        with pytest.raises((CorruptBlock, UnknownFormat)):
            read_record(data[:length], FINGERPRINT, "it")


def test_a_block_of_another_model_is_refused() -> None:
    data = write_record(block(), CODECS["int4"], FINGERPRINT)
    with pytest.raises(FingerprintMismatch, match=r"use that model, or another memory\.folder"):
        read_record(data, bytes(16), "it")


def test_a_newer_format_is_told_apart_from_damage() -> None:
    data = bytearray(write_record(block(), CODECS["int4"], FINGERPRINT))
    data[4] = 9
    with pytest.raises(CorruptBlock):
        read_record(bytes(data), FINGERPRINT, "it")
    with pytest.raises(UnknownFormat, match="has format 9, this version reads up to 1; upgrade longwatch"):
        read_record(seal(bytes(data[:-4])), FINGERPRINT, "it")
