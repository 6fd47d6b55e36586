"""Codecs: what comes back, how exact, and that one head's keys need not the rest."""

from __future__ import annotations

import resource
from dataclasses import replace

import pytest
import torch
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from longwatch.memory.block import Block, Geometry
from longwatch.memory.codec.registry import CODECS
from longwatch.memory.decompress import decompress
from longwatch.memory.errors import CodecError, CorruptBlock, FingerprintMismatch, UnknownFormat
from longwatch.memory.record import Record, read_record, seal, write_record
from longwatch.memory.scales import Scales

FINGERPRINT = bytes(range(16))
SCALED = ("ecsq4", "ecsq2", "ecsq1")


def tensors(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Keys whose channels differ in range, as real ones do, and values."""
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(shape, generator=generator) * torch.linspace(0.1, 8, shape[-1]) + 3
    return keys.to(dtype), torch.randn(shape, generator=generator).to(dtype)


def block(dtype: torch.dtype = torch.bfloat16, shape: tuple[int, ...] = (2, 2, 7, 8), seed: int = 0) -> Block:
    keys, values = tensors(shape, dtype, seed)
    return Block(block_id=5, start_ns=10, end_ns=20, keys=keys, values=values, signature=torch.zeros(1, 4).half())


def scales_for(kept: Block) -> Scales:
    """Measured on other blocks of the same stream."""
    return Scales.of(block(kept.keys.dtype, tuple(kept.keys.shape), seed) for seed in range(100, 132))


def pack(kept: Block, codec: str) -> bytes:
    return write_record(kept, CODECS[codec], FINGERPRINT, scales_for(kept))


def read(data: bytes, scales: Scales | None = None) -> Record:
    return read_record(
        data, FINGERPRINT, "it", lambda digest: {scales.digest: scales}[digest] if scales else no_scales()
    )


def no_scales() -> Scales:
    raise AssertionError("this codec needs no scales")


@pytest.mark.parametrize(
    ("codec", "dtype"), [("raw16", torch.float16), ("raw16", torch.bfloat16), ("raw32", torch.float32)]
)
def test_a_raw_block_comes_back_bit_for_bit(codec: str, dtype: torch.dtype) -> None:
    kept = block(dtype)
    keys, values = read(pack(kept, codec)).unpack()
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
    data = memoryview(codec.pack(keys, values, None))
    assert len(data) == keys.numel() * 2 * bits // 8 + 4 * layers * heads * (4 * quarter_dim + tokens)
    back = codec.unpack(data, Geometry(layers, heads, 4 * quarter_dim), tokens, torch.float32, None)
    for original, restored, axis in ((keys, back[0], 2), (values, back[1], 3)):
        step = (original.amax(axis, keepdim=True) - original.amin(axis, keepdim=True)) / (2**bits - 1)
        slack = 0.01 * original.abs().amax() + 1e-5  # the range itself is kept in 16 bits
        assert ((original - restored).abs() <= 0.5 * step + slack).all()


def test_int4_takes_a_quarter_of_raw16_and_the_ranges_no_more() -> None:
    """A range is 4 bytes for each of a head's D key channels and T value tokens, beside 4·T·D bytes raw."""
    keys, values = tensors((6, 2, 196, 64), torch.bfloat16)
    ratio = len(CODECS["int4"].pack(keys, values, None)) / len(CODECS["raw16"].pack(keys, values, None))
    assert ratio == pytest.approx(0.25 + 1 / 196 + 1 / 64)


@settings(max_examples=40, deadline=None)
@given(
    layers=st.integers(1, 4),
    heads=st.integers(1, 3),
    tokens=st.integers(1, 33),
    half_dim=st.integers(1, 16),
    seed=st.integers(0, 999),
    strange=st.sampled_from((1.0, 30.0, 3000.0)),
    codec=st.sampled_from(SCALED),
)
def test_an_entropy_coded_block_is_within_a_step_of_its_streams_spread_however_strange_it_is(
    layers: int, heads: int, tokens: int, half_dim: int, seed: int, strange: float, codec: str
) -> None:
    """A code stands for the mean of its step, which is no further than a step from what was there."""
    usual = block(torch.float32, (layers, heads, tokens, 2 * half_dim), seed)
    kept = replace(usual, keys=usual.keys * strange, values=usual.values - strange)
    scales, steps = scales_for(usual), {"ecsq4": (0.25, 0.22), "ecsq2": (0.9, 0.5), "ecsq1": (1.2, 0.7)}[codec]
    record = read(write_record(kept, CODECS[codec], FINGERPRINT, scales), scales)
    keys, values = record.unpack()
    some = record.unpack_keys([(layers - 1, heads - 1), (0, 0)])
    assert torch.equal(some, torch.stack([keys[layers - 1, heads - 1], keys[0, 0]]))
    key_spread, value_spread = scales.spread
    key_unit = (key_spread * key_spread.log().mean(-1, keepdim=True).exp()).sqrt()
    for original, restored, step in (
        (kept.keys, keys, steps[0] * key_unit),
        (kept.values, values, steps[1] * value_spread),
    ):
        assert ((original - restored).abs() <= step + 1e-5 * original.abs()).all()


def test_a_finer_step_takes_more_bytes_and_gives_less_error() -> None:
    kept = block(torch.float32, (4, 2, 24, 64))
    scales = scales_for(kept)
    sizes, errors = [], []
    for codec in SCALED:
        data = write_record(kept, CODECS[codec], FINGERPRINT, scales)
        sizes.append(8 * len(data) / (2 * kept.keys.numel()))
        errors.append(float((read(data, scales).unpack()[1] - kept.values).square().mean()))
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)
    own_ranges = [8 * len(pack(kept, codec)) / (2 * kept.keys.numel()) for codec in ("int4", "int2")]
    assert sizes[0] < own_ranges[0]
    assert sizes[2] < own_ranges[1]


def test_scales_come_back_as_they_were_and_are_told_apart_by_their_digest() -> None:
    scales, others = scales_for(block()), scales_for(block(torch.float32, (2, 2, 7, 8)))
    again = Scales.unpack(scales.packed)
    assert torch.equal(again.mean, scales.mean)
    assert torch.equal(again.spread, scales.spread)
    assert again.digest == scales.digest != others.digest
    with pytest.raises(CorruptBlock):
        Scales.unpack(scales.packed[:-2])


def test_scales_are_the_means_of_places_and_the_spreads_of_channels() -> None:
    """Of the blocks with as many tokens as the first; one with other tokens is packed against its channels' means."""
    blocks = [block(torch.float32, (2, 2, tokens, 8), seed) for seed, tokens in enumerate((9, 9, 24, 9))]
    scales, alike = Scales.of(blocks), [blocks[0], blocks[1], blocks[3]]
    for n, kind in enumerate(("keys", "values")):
        stacked = torch.stack([getattr(b, kind) for b in alike])
        together = torch.cat(list(stacked), 2)
        sixteenth = scales.spread[n] / 16
        assert ((scales.mean[n] - stacked.mean(0)).abs() <= sixteenth + 1e-3 * stacked.mean(0).abs()).all()
        assert torch.allclose(scales.spread[n], together.std(2, correction=0, keepdim=True), rtol=1e-3)
        assert torch.allclose(scales.fitting(24).mean[n], together.mean(2, keepdim=True), rtol=1e-3, atol=5e-3)
    assert scales.fitting(9) is scales


def test_a_camera_that_stands_still_takes_fewer_bits() -> None:
    """What differs from place to place and not from block to block is in the means."""
    generator = torch.Generator().manual_seed(1)
    places = torch.randn(2, 2, 24, 64, generator=generator)
    blocks = [
        replace(moved, keys=places + 0.2 * moved.keys, values=places + 0.2 * moved.values)
        for moved in (block(torch.float32, (2, 2, 24, 64), seed) for seed in range(40))
    ]
    scales, codec = Scales.of(blocks[:32]), CODECS["ecsq4"]
    sizes = [len(codec.pack(blocks[-1].keys, blocks[-1].values, s)) for s in (scales, scales.fitting(1))]
    assert sizes[0] < 0.75 * sizes[1]


@pytest.mark.parametrize(
    ("codec", "dtype"),
    [
        ("raw16", torch.bfloat16),
        ("raw32", torch.float32),
        ("int8", torch.float32),
        ("int4", torch.float32),
        ("int2", torch.float32),
        *((codec, torch.float32) for codec in SCALED),
    ],
)
def test_one_heads_keys_equal_those_of_the_whole_block(codec: str, dtype: torch.dtype) -> None:
    kept = block(dtype)
    record = read(pack(kept, codec), scales_for(kept))
    keys, _ = record.unpack()
    some = record.unpack_keys([(1, 0), (0, 1)])
    assert torch.equal(some, torch.stack([keys[1, 0], keys[0, 1]]).float())


def test_a_raw_codec_refuses_to_round_and_says_what_to_set() -> None:
    with pytest.raises(CodecError, match=r"raw16 cannot keep torch\.float32 bit for bit; set memory\.codec to raw32"):
        pack(block(torch.float32), "raw16")


@pytest.mark.parametrize("codec", ["raw16", "int4", "ecsq4"])
def test_a_flipped_bit_anywhere_is_found(codec: str) -> None:
    data = pack(block(), codec)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        with pytest.raises((CorruptBlock, UnknownFormat)):
            read(bytes(damaged))


def test_a_cut_off_record_is_found_at_any_length() -> None:
    data = pack(block(), "int4")
    for length in range(0, len(data), 7):
        with pytest.raises((CorruptBlock, UnknownFormat)):
            read(data[:length])


def test_a_block_of_another_model_is_refused() -> None:
    data = pack(block(), "int4")
    with pytest.raises(FingerprintMismatch, match=r"use that model, or another memory\.folder"):
        read_record(data, bytes(16), "it", lambda _: no_scales())


def test_a_newer_format_is_told_apart_from_damage() -> None:
    data = bytearray(pack(block(), "int4"))
    data[4] = 9
    with pytest.raises(CorruptBlock):
        read(bytes(data))
    with pytest.raises(UnknownFormat, match="has format 9, this version reads up to 2; upgrade longwatch"):
        read(seal(bytes(data[:-4])))


def test_a_frame_that_would_take_a_gigabyte_is_refused_before_room_is_made() -> None:
    bomb = zstandard.compress(bytes(1 << 30), 1)
    assert len(bomb) < 40_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CorruptBlock, match="it would take 1073741824 bytes where at most 1000 fit"):
        decompress(bomb, 1000, "it")
    codec = CODECS["ecsq4"]
    scales = scales_for(block(shape=(2, 2, 5, 8)))
    payload = len(bomb).to_bytes(4, "big") + bomb + bomb
    with pytest.raises(CorruptBlock, match="a packed block would take 1073741824 bytes where at most 720 fit"):
        codec.unpack(memoryview(payload), Geometry(2, 2, 8), 5, torch.bfloat16, scales)
    with pytest.raises(CorruptBlock, match="scales would take 1073741824 bytes"):
        Scales.unpack(scales.packed[:8] + bomb)
    with pytest.raises(CorruptBlock, match="scales would have 18445618199572250625 values where at most"):
        Scales.unpack(b"\xff" * 8 + bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_a_frame_that_does_not_say_its_size_is_held_to_it_all_the_same() -> None:
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 20))
    assert decompress(silent, 1 << 20, "it") == bytes(1 << 20)
    with pytest.raises(CorruptBlock, match="it cannot be decompressed"):
        decompress(silent, (1 << 20) - 1, "it")
