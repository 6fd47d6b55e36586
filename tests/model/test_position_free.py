"""The fast way equals the plain way: frames, windows, recall and answers against transformers' own forward."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from longwatch.daemon.model.queries import compute_queries
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.memory.block import Places
from longwatch.memory.window import Window

from .plain import Part, PlainModel

Frames = list[NDArray[np.uint8]]
QUESTION = "was the door open at 14:03:20?"
START_NS = 1_772_460_200_000_000_000


def load(folder: str, window_tokens: int = 100_000, chunk_tokens: int = 512) -> VideoLM:
    config = ModelConfig(
        name=folder, device="cpu", dtype="float32", window_tokens=window_tokens, chunk_tokens=chunk_tokens
    )
    return VideoLM.load(config)


def encode(lm: VideoLM, frames: Frames, chunk: int) -> tuple[Window, torch.Tensor, torch.Tensor]:
    """The window behind all frames, and every frame's keys and values `[n, L, H, T, D]`."""
    times = [START_NS + i * 1_000_000_000 for i in range(len(frames))]
    inputs, window = lm.embed_frames(frames, times), lm.new_window()
    keys, values = [], []
    for start in range(0, len(frames), chunk):
        new_keys, new_values = lm.prefill_blocks(inputs[start : start + chunk], window)
        for i in range(len(new_keys)):
            window.append(start + i, new_keys[i], new_values[i])
        keys.append(new_keys)
        values.append(new_values)
    return window, torch.cat(keys), torch.cat(values)


def plain_blocks(plain: PlainModel, lm: VideoLM, frames: Frames, in_window: int) -> tuple[Part, list[Part]]:
    """The sink and each frame's block, every frame run behind the sink and so many blocks before it."""
    times = [START_NS + i * 1_000_000_000 for i in range(len(frames))]
    inputs = lm.embed_frames(frames, times)
    _, sink = plain.run(plain.embed(lm.prompt.sink_ids), [])
    blocks: list[Part] = []
    for frame in inputs:
        before = blocks[max(0, len(blocks) - in_window) :]
        _, block = plain.run(frame, [sink, *before])
        blocks.append(block)
    return sink, blocks


def say(lm: VideoLM, parts: list[tuple[torch.Tensor, torch.Tensor]], tokens: int) -> tuple[torch.Tensor, list[int]]:
    """Logits behind the question, and a greedy answer."""
    context = lm.lay_out(parts)
    logits = first = lm.prefill(context, lm.prompt.question_ids(QUESTION))
    said = [int(logits.argmax())]
    while len(said) < tokens:
        logits = lm.prefill(context, said[-1:])
        said.append(int(logits.argmax()))
    return first, said


def test_a_window_that_holds_everything_equals_a_plain_forward(checkpoint: str, frames: Frames) -> None:
    """One plain causal forward over sink, all frames and the question, against window, chunks and context."""
    lm, plain = load(checkpoint), PlainModel(checkpoint)
    window, _, _ = encode(lm, frames, chunk=4)
    inputs = lm.embed_frames(frames, [START_NS + i * 1_000_000_000 for i in range(len(frames))])
    ids = lm.prompt.question_ids(QUESTION)
    everything = torch.cat([plain.embed(lm.prompt.sink_ids), inputs.flatten(0, 1), plain.embed(ids)])
    expected, _ = plain.run(everything, [])
    logits, said = say(lm, [(window.keys, window.values)], 6)
    assert (logits - expected[-1]).abs().max() <= 1e-3
    longer = torch.cat([everything, plain.embed(said[:-1])])
    again, _ = plain.run(longer, [])
    assert said == again[-6:].argmax(-1).tolist()


def test_every_slid_out_block_recalled_equals_a_plain_forward_over_the_same_layout(
    checkpoint: str, frames: Frames
) -> None:
    """Frame by frame behind two blocks, then the question behind sink, all blocks in order: both ways."""
    tokens = load(checkpoint).embed_frames(frames[:1], [START_NS]).shape[1]
    lm, plain = load(checkpoint, window_tokens=2 * tokens + 1), PlainModel(checkpoint)
    window, keys, values = encode(lm, frames, chunk=3)
    assert len(window.blocks) == 2
    sink, blocks = plain_blocks(plain, lm, frames, in_window=2)
    own_sink = (window.keys[:, :, : window.sink_tokens], window.values[:, :, : window.sink_tokens])
    logits, said = say(lm, [own_sink, *zip(keys, values, strict=True)], 6)
    ids = lm.prompt.question_ids(QUESTION)
    expected, _ = plain.run(plain.embed(ids), [sink, *blocks])
    assert (logits - expected[-1]).abs().max() <= 1e-3
    assert said == plain.answer(ids, [sink, *blocks], 6)


def test_tokens_that_are_left_out_leave_their_places_empty(checkpoint: str, frames: Frames) -> None:
    """A whole frame, two thinned ones together and apart, and a question; a token stands where a whole frame has it."""
    lm, plain = load(checkpoint), PlainModel(checkpoint)
    inputs, window = lm.embed_frames(frames[:3], [START_NS] * 3), lm.new_window()
    tokens, sink_tokens = inputs.shape[1], window.sink_tokens
    kept = (0, 1, 2, 5, tokens - 2)
    keys, values = lm.prefill_blocks(inputs[:1], window)
    window.append(1, keys[0], values[0])
    places = Places(kept, tokens)
    _, thin = lm.prefill_blocks(inputs[1:, list(kept)], window, places)
    thin_keys, thin_values = lm.prefill_blocks(inputs[1:2, list(kept)], window, places)
    window.append(2, thin_keys[0], thin_values[0], places)
    _, again = lm.prefill_blocks(inputs[2:, list(kept)], window, places)

    begins = [sink_tokens + n * tokens for n in range(3)]
    stand = [[*range(sink_tokens)], [*range(begins[0], begins[1])], *([b + i for i in kept] for b in begins[1:])]
    _, sink = plain.run(plain.embed(lm.prompt.sink_ids), [])
    blocks = [sink]
    for n, frame in enumerate((inputs[0], inputs[1, list(kept)], inputs[2, list(kept)]), 2):
        _, block = plain.run(frame, blocks, stand=stand[:n])
        blocks.append(block)
    for layer in range(lm.geometry.layers):
        for ours, expected in ((thin[0], blocks[2]), (thin[1], blocks[3]), (again[0], blocks[3])):
            assert (ours[layer] - expected[1][layer][0]).abs().max() <= 1e-4
    parts = [window.sink, *((part.keys, part.values) for part in window.parts())]
    context = lm.lay_out(parts, [None, None, places])
    ids = lm.prompt.question_ids(QUESTION)
    end = begins[1] + kept[-1] + 1
    expected, _ = plain.run(plain.embed(ids), blocks[:3], stand=[*stand[:3], [*range(end, end + len(ids))]])
    assert (lm.prefill(context, ids) - expected[-1]).abs().max() <= 1e-3
    (queries,) = compute_queries(lm, window, [ids])
    assert queries[0].shape[1] == len(ids)


def test_recalled_blocks_stand_as_far_apart_as_fills_the_spread(checkpoint: str, frames: Frames) -> None:
    """Three blocks spread before a window of one, against a plain forward with the same gaps of positions."""
    lm, plain = load(checkpoint), PlainModel(checkpoint)
    _, keys, values = encode(lm, frames[:4], chunk=4)
    sink, blocks = plain_blocks(plain, lm, frames[:4], in_window=4)
    empty, ids = lm.new_window(), lm.prompt.question_ids(QUESTION)
    parts = [(empty.keys, empty.values), *zip(keys, values, strict=True)]
    tokens = keys.shape[3]
    for spread, gap in ((3 * tokens + 4 * 9 + 3, 9), (2 * tokens, 0)):
        lm.config = msgspec.structs.replace(lm.config, spread_tokens=spread)
        logits = lm.prefill(lm.lay_out(parts, recalled=3), ids)
        expected, _ = plain.run(plain.embed(ids), [sink, *blocks], [0, gap, gap, gap, gap])
        assert (logits - expected[-1]).abs().max() <= 1e-3


def test_frames_behind_a_gap_equal_a_plain_forward_behind_the_gaps_line(checkpoint: str, frames: Frames) -> None:
    """Two frames, a gap whose line is of another length, two frames at once behind frame and gap: both ways."""
    lm, plain = load(checkpoint), PlainModel(checkpoint)
    gap = lm.embed_gap(START_NS, START_NS + 300_000_000_000)
    inputs = lm.embed_frames(frames[:4], [START_NS] * 4)
    assert gap.shape[1] != inputs.shape[1]
    lm = load(checkpoint, window_tokens=gap.shape[1] + inputs.shape[1])
    window = lm.new_window()
    for block_id, block in enumerate([inputs[:1], inputs[1:2], gap]):
        keys, values = lm.prefill_blocks(block, window)
        window.append(block_id, keys[0], values[0])
    keys, values = lm.prefill_blocks(inputs[2:], window)

    _, sink = plain.run(plain.embed(lm.prompt.sink_ids), [])
    _, first = plain.run(inputs[0], [sink])
    _, second = plain.run(inputs[1], [sink, first])
    # The first frame is before the line only where the two frames fit in the window together.
    fits = 2 * inputs.shape[1] <= lm.config.window_tokens
    _, line = plain.run(gap[0], [sink, first, second] if fits else [sink, second])
    _, third = plain.run(inputs[2], [sink, second, line])
    _, fourth = plain.run(inputs[3], [sink, line, third])
    scaling = plain.text.rotary_emb.attention_scaling  # YaRN's own: a kept key carries it already
    for row, expected in enumerate((third, fourth)):
        assert (keys[row] - scaling * torch.cat(expected[0])).abs().max() <= 1e-4
        assert (values[row] - torch.cat(expected[1])).abs().max() <= 1e-4


@pytest.mark.parametrize("chunk", [1, 3, 10])
def test_any_chunk_size_gives_the_same_keys_and_values(checkpoint: str, frames: Frames, chunk: int) -> None:
    lm = load(checkpoint, window_tokens=90)
    _, keys, values = encode(lm, frames, chunk=2)
    window, other_keys, other_values = encode(lm, frames, chunk=chunk)
    assert (keys - other_keys).abs().max() <= 1e-4  # of up to 20: sums in another order
    assert (values - other_values).abs().max() <= 1e-4
    assert window.tokens <= 90


def test_a_question_in_chunks_gives_the_same_logits(checkpoint: str, frames: Frames) -> None:
    whole, parts = load(checkpoint), load(checkpoint, chunk_tokens=2)
    window, _, _ = encode(whole, frames, chunk=5)
    expected, _ = say(whole, [(window.keys, window.values)], 1)
    logits, _ = say(parts, [(window.keys, window.values)], 1)
    assert torch.allclose(logits, expected, atol=1e-3)


def test_queries_stop_at_the_layer_asked_for_and_equal_those_of_the_whole_run(checkpoint: str, frames: Frames) -> None:
    lm = load(checkpoint)
    window, _, _ = encode(lm, frames, chunk=5)
    ids = lm.prompt.question_ids(QUESTION)
    (whole,) = compute_queries(lm, window, [ids])
    _, short = compute_queries(
        lm, window, [lm.prompt.question_ids("what?"), ids], last_layer=1
    )  # one before it leaves no trace
    assert sorted(short) == [0, 1]
    assert torch.equal(short[1], whole[1])


def test_two_models_side_by_side_do_not_disturb_each_other(tiny_folder: object, frames: Frames) -> None:
    first, second = load(str(tiny_folder)), load("embedded")
    _, alone, _ = encode(first, frames, chunk=5)
    window, _, _ = encode(second, frames, chunk=5)
    inputs = first.embed_frames(frames[:5], [START_NS + i * 1_000_000_000 for i in range(5)])
    second.prefill(second.lay_out([(window.keys, window.values)]), [5, 6])
    between, _ = first.prefill_blocks(inputs, first.new_window())
    assert torch.equal(between, alone[:5])


def test_a_rewound_context_answers_as_a_fresh_one(checkpoint: str, frames: Frames) -> None:
    """A long question asked and taken back leaves nothing behind."""
    lm = load(checkpoint)
    window, _, _ = encode(lm, frames, chunk=5)
    fresh, used = (lm.lay_out([(window.keys, window.values)]) for _ in range(2))
    lm.prefill(used, lm.prompt.question_ids(f"{QUESTION} {QUESTION}"))
    used.rewind(fresh.tokens)
    ids = lm.prompt.question_ids(QUESTION)
    assert torch.equal(lm.prefill(used, ids), lm.prefill(fresh, ids))
    assert used.tokens == fresh.tokens
