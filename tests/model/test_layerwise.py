"""Contexts that differ by layer: against the ordinary one, against transformers' cache, and against a loop by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from longwatch.daemon.answer.layerwise import ContextPart, LayerwiseRecall
from longwatch.daemon.model.layerwise_context import LayerwiseContext
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.memory.block import Block, BlockInfo
from longwatch.retrieval.retrievers.choice import make_retriever
from longwatch.retrieval.retrievers.rekv import RekvRetriever
from longwatch.retrieval.retrievers.retriever import Hit
from longwatch.retrieval.settings import RetrievalConfig
from longwatch.retrieval.signature import SignatureLayout
from longwatch.retrieval.steps import finished

from .plain import Part, PlainModel

QUESTION = "was the door open at 14:03:20?"
START_NS = 1_772_460_200_000_000_000
NEWEST = 1  # blocks that stand as the window


class World(NamedTuple):
    """Ten frames encoded one behind the other, as ours and as the plain model keeps them."""

    lm: VideoLM
    plain: PlainModel
    ids: list[int]
    sink: Part
    blocks: list[Part]
    ours: list[Block]


@pytest.fixture
def world(checkpoint: str, frames: list[NDArray[np.uint8]]) -> World:
    lm = VideoLM.load(
        ModelConfig(name=checkpoint, device="cpu", dtype="float32", window_tokens=10_000, spread_tokens=0)
    )
    plain = PlainModel(checkpoint)
    times = [START_NS + i * 1_000_000_000 for i in range(len(frames))]
    inputs, window = lm.embed_frames(frames, times), lm.new_window()
    keys, values = lm.prefill_blocks(inputs, window)
    _, sink = plain.run(plain.embed(lm.prompt.sink_ids), [])
    blocks: list[Part] = []
    for frame in inputs:
        blocks.append(plain.run(frame, [sink, *blocks])[1])
    ours = [
        Block(
            block_id=i + 1,
            start_ns=times[i],
            end_ns=times[i],
            keys=keys[i],
            values=values[i],
            signature=SignatureLayout(None).signatures(keys[i : i + 1])[0],
        )
        for i in range(len(frames))
    ]
    return World(lm, plain, lm.prompt.question_ids(QUESTION), sink, blocks, ours)


def rekv(world: World) -> RekvRetriever:
    config = RetrievalConfig(retriever="rekv", recall_blocks=3)
    made = make_retriever(config, SignatureLayout(None), world.lm.geometry, lambda _: torch.empty(0))
    assert isinstance(made, RekvRetriever)
    return made


def recalling(world: World, rank: Callable[[int, Tensor], list[Hit]]) -> LayerwiseRecall:
    """A recall before a window of the newest blocks."""
    window = world.lm.new_window()
    recent = [ContextPart(block.keys, block.values) for block in world.ours[-NEWEST:]]
    return LayerwiseRecall(
        world.lm, ContextPart(*window.sink), recent, rank, lambda info: world.ours[info.block_id - 1]
    )


def said_by(world: World, context: LayerwiseContext, tokens: int = 6) -> tuple[Tensor, list[int]]:
    """Logits behind the question, and the first tokens of a greedy answer."""
    first = logits = world.lm.prefill(context, world.ids)
    said = [int(logits.argmax())]
    while len(said) < tokens:
        logits = world.lm.prefill(context, said[-1:])
        said.append(int(logits.argmax()))
    return first, said


def handed(world: World, chosen: Sequence[Sequence[int]]) -> LayerwiseContext:
    """Each layer is handed some blocks, best first and so not in their order of time."""
    recall = recalling(world, lambda layer, _: [Hit(world.ours[i].info, 1.0) for i in chosen[layer]])
    return finished(recall.context(world.ids))


def mixed(chosen: Sequence[Sequence[int]], blocks: Sequence[Part]) -> list[Part]:
    """Parts whose n-th stands, in each layer, for the n-th block recalled there."""
    parts = []
    for of_layers in zip(*(sorted(of_layer) for of_layer in chosen), strict=True):
        keys, values = ([blocks[i][kind][layer] for layer, i in enumerate(of_layers)] for kind in (0, 1))
        parts.append((keys, values))
    return parts


@torch.inference_mode()
def by_hand(plain: PlainModel, ids: list[int], choose: Callable[[int, Tensor], list[Part]]) -> Tensor:
    """Logits `[T, vocabulary]`, layer by layer in plain words.

    Args:
        choose: the parts before the question in a layer, in order, from its queries `[Hq, T, D]` before rotary.
    """
    text = plain.text
    rotate, dim = sys.modules[type(text).__module__].apply_rotary_pos_emb, text.layers[0].self_attn.head_dim
    hidden = plain.embed(ids)[None]
    for number, layer in enumerate(text.layers):
        attention, normed = layer.self_attn, layer.input_layernorm(hidden)
        query, key, value = (
            project(normed).unflatten(-1, (-1, dim)).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        parts = choose(number, query[0])
        keys, values = (
            torch.cat([*(part[kind][number] for part in parts), new], 2) for kind, new in ((0, key), (1, value))
        )
        positions = torch.arange(keys.shape[2])
        cos, sin = text.rotary_emb(keys, positions[None])
        keys = rotate(keys, keys, cos, sin)[1].repeat_interleave(query.shape[1] // keys.shape[1], 1)
        values = values.repeat_interleave(query.shape[1] // values.shape[1], 1)
        query = rotate(query, query, cos[:, -len(ids) :], sin[:, -len(ids) :])[0]
        scores = query @ keys.transpose(2, 3) * attention.scaling
        scores = scores.masked_fill(positions > positions[-len(ids) :, None], -torch.inf)
        out = (scores.softmax(-1) @ values).transpose(1, 2).flatten(2)
        hidden = hidden + attention.o_proj(out)
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    logits: Tensor = plain.model.lm_head(text.norm(hidden))[0]
    return logits


def test_the_same_blocks_in_every_layer_give_what_the_ordinary_context_gives(world: World) -> None:
    """Also spread, and with the question in chunks."""
    for spread, chunk in ((0, 512), (2000, 2)):
        world.lm.config = msgspec.structs.replace(world.lm.config, spread_tokens=spread, chunk_tokens=chunk)
        layers = world.lm.geometry.layers
        logits, said = said_by(world, handed(world, [[6, 2, 4]] * layers))
        blocks = [world.ours[i] for i in (2, 4, 6, 9)]
        parts = [world.lm.new_window().sink, *((block.keys, block.values) for block in blocks)]
        ordinary = world.lm.lay_out(parts, recalled=3)
        expected = world.lm.prefill(ordinary, world.ids)
        assert torch.allclose(logits, expected, atol=1e-4)
        for token in said:
            assert int(expected.argmax()) == token
            expected = world.lm.prefill(ordinary, [token])


def test_a_question_in_chunks_of_any_size_recalls_and_answers_as_in_one(world: World) -> None:
    """Each layer chooses by the mean of all of the question's queries, which the layers before it bear on."""
    retriever = rekv(world)
    for block in world.ours[:-NEWEST]:
        retriever.index.add(block.info, retriever.index.cut(block.signature))
    whole, found = None, []
    for chunk in (512, 7, 1):
        world.lm.config = msgspec.structs.replace(world.lm.config, chunk_tokens=chunk)
        recall = recalling(world, lambda layer, queries: retriever.rank_layer(layer, queries, None, ())[:3])
        logits, _ = said_by(world, finished(recall.context(world.ids)), tokens=1)
        whole = logits if whole is None else whole
        assert (logits - whole).abs().max() <= 1e-3
        found.append([(hit.info.block_id, hit.score) for hit in recall.hits])
    assert found[0] == found[1] == found[2]


def test_other_blocks_in_every_layer_give_what_a_cache_filled_by_layer_gives(world: World) -> None:
    """As many blocks in each layer, so that transformers' own cache can hold them: the answer too."""
    layers = world.lm.geometry.layers
    chosen = [[(5 * layer) % 9, (5 * layer + 4) % 9] for layer in range(layers)]
    parts = [world.sink, *mixed(chosen, world.blocks), *world.blocks[-NEWEST:]]
    logits, said = said_by(world, handed(world, chosen))
    expected, _ = world.plain.run(world.plain.embed(world.ids), parts)
    assert (logits - expected[-1]).abs().max() <= 1e-3
    assert said == world.plain.answer(world.ids, parts, len(said))
    same, _ = said_by(world, handed(world, [chosen[0]] * layers))
    assert (same - expected[-1]).abs().max() > 1e-2, "the blocks of a layer must tell"


def test_more_blocks_in_some_layers_than_in_others_give_what_a_loop_by_hand_gives(world: World) -> None:
    chosen = [[(3 * layer + i) % 9 for i in range((2 * layer) % 5)] for layer in range(world.lm.geometry.layers)]
    assert len({len(of_layer) for of_layer in chosen}) > 1

    def choose(layer: int, _: Tensor) -> list[Part]:
        return [world.sink, *(world.blocks[i] for i in sorted(chosen[layer])), *world.blocks[-NEWEST:]]

    context = handed(world, chosen)
    asked = list(world.ids)
    logits = world.lm.prefill(context, asked)
    for _ in range(4):
        expected = by_hand(world.plain, asked, choose)[-1]
        assert (logits - expected).abs().max() <= 1e-3
        asked.append(int(expected.argmax()))
        logits = world.lm.prefill(context, asked[-1:])


def test_rekv_recalls_in_each_layer_what_its_score_says_of_queries_that_saw_the_layers_before(world: World) -> None:
    """The retriever with its index, and a loop that scores every block by hand as the paper does."""
    retriever = rekv(world)
    for block in world.ours:
        retriever.index.add(block.info, retriever.index.cut(block.signature))
    in_window = {block.block_id for block in world.ours[-NEWEST:]}
    found: list[set[int]] = []

    def rank(layer: int, queries: Tensor) -> list[Hit]:
        hits = retriever.rank_layer(layer, queries, None, in_window)[:3]
        found.append({hit.info.block_id for hit in hits})
        return hits

    expected: list[set[int]] = []

    def choose(layer: int, queries: Tensor) -> list[Part]:
        asked = queries.mean(1)
        group = len(asked) // world.lm.geometry.kv_heads
        of_blocks = torch.stack([keys[layer][0].mean(1).repeat_interleave(group, 0) for keys, _ in world.blocks[:9]])
        best = (of_blocks.flatten(1) @ asked.flatten()).topk(3).indices.sort().values.tolist()
        expected.append({i + 1 for i in best})
        return [world.sink, *(world.blocks[i] for i in best), *world.blocks[-NEWEST:]]

    recall = recalling(world, rank)
    logits = world.lm.prefill(finished(recall.context(world.ids)), world.ids)
    assert (logits - by_hand(world.plain, world.ids, choose)[-1]).abs().max() <= 1e-3
    assert found == expected
    times = [sum(hit.info.block_id in of_layer for of_layer in expected) for hit in recall.hits]
    assert times == sorted(times, reverse=True)
    assert [hit.score * len(expected) for hit in recall.hits] == pytest.approx(times)
    assert {hit.info.block_id for hit in recall.hits} == set().union(*expected)
    assert [block.block_id for block in recall.blocks] == sorted(set().union(*expected))


def test_a_block_that_cannot_be_read_is_left_out_of_every_layer(world: World) -> None:
    layers, hits = world.lm.geometry.layers, [Hit(BlockInfo(7, 0, 0, 1), 0.5), Hit(world.ours[3].info, 0.5)]
    tried: list[int] = []

    def fetch(info: BlockInfo) -> Block | None:
        tried.append(info.block_id)
        return None if info.block_id == 7 else world.ours[3]

    sink = ContextPart(*world.lm.new_window().sink)
    recent = [ContextPart(block.keys, block.values) for block in world.ours[-NEWEST:]]
    recall = LayerwiseRecall(world.lm, sink, recent, lambda *_: hits, fetch)
    logits, _ = said_by(world, finished(recall.context(world.ids)))
    expected, _ = said_by(world, handed(world, [[3]] * layers))
    assert torch.equal(logits, expected)
    assert [hit.info.block_id for hit in recall.hits] == [4]
    assert sorted(tried) == [4, 7]
