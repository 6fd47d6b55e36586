"""Retrieval: the score, the index against brute force, and each retriever."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from longwatch.memory.block import BlockInfo, Geometry
from longwatch.retrieval.blockrows import BlockRows
from longwatch.retrieval.heads import RetrievalHeads, score_attention
from longwatch.retrieval.index.day import SPAN_ROWS
from longwatch.retrieval.index.index import SignatureIndex
from longwatch.retrieval.retrievers.choice import make_retriever
from longwatch.retrieval.retrievers.retriever import Query, Retriever
from longwatch.retrieval.retrievers.shared import SharedRetriever
from longwatch.retrieval.settings import RetrievalConfig
from longwatch.retrieval.signature import SignatureLayout, SignaturePart, choose_outlying
from longwatch.retrieval.time.span import Span

GEOMETRY = Geometry(layers=3, kv_heads=2, head_dim=16)
HEADS = RetrievalHeads(((1, 0), (2, 3)), group=2)
SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS


class World:
    """Blocks with random keys, of which some stand out, and queries that look for one of them."""

    def __init__(self, count: int, seed: int = 0, tokens: int = 6) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.keys = torch.randn(count, 3, 2, tokens, 16, generator=self.generator)
        self.infos = [BlockInfo(i + 1, i * SECOND_NS, i * SECOND_NS, tokens) for i in range(count)]

    def read_keys(self, block_id: int) -> Tensor:
        keys = self.keys[block_id - 1]
        return torch.stack([keys[layer, head] for layer, head in HEADS.kv_heads])

    def looking_for(self, block_id: int, strength: float = 2.0) -> dict[int, Tensor]:
        """Queries like one of the block's own keys in the retrieval heads, and noise elsewhere."""
        queries = torch.randn(3, 4, 5, 16, generator=self.generator) * 0.1
        for layer, head in HEADS.heads:
            queries[layer, head, 2:] += strength * self.keys[block_id - 1, layer, head // 2, 3]
        return dict(enumerate(queries))

    def fill(self, retriever: Retriever) -> None:
        for info, signature in zip(self.infos, SignatureLayout(HEADS).signatures(self.keys), strict=True):
            retriever.index.add(info, retriever.index.cut(signature))

    def retriever(self, name: str = "heads", **options: int) -> Retriever:
        config = RetrievalConfig(retriever=name, **options)  # type: ignore[arg-type]
        made = make_retriever(config, SignatureLayout(HEADS), GEOMETRY, self.read_keys)
        self.fill(made)
        return made


def test_attention_score_equals_a_plain_softmax_loop() -> None:
    generator = torch.Generator().manual_seed(1)
    queries = torch.randn(2, 3, 8, generator=generator)
    keys = [torch.randn(2, tokens, 8, generator=generator) for tokens in (1, 4, 2)]
    expected = torch.zeros(3)
    for head in range(2):
        for token in range(3):
            scores = [queries[head, token] @ keys[b][head].T / 8**0.5 for b in range(3)]
            total = torch.cat(scores).exp().sum()
            expected += torch.stack([(s.exp().sum() / total).sqrt() for s in scores]) / 6
    assert torch.allclose(score_attention(queries, keys), expected, atol=1e-6)


def test_a_block_that_bears_on_all_words_comes_before_one_that_draws_all_of_ones_attention() -> None:
    """Two words: the first block answers to both a little, the second to one alone, and more in sum."""
    queries = 8 * torch.eye(4)[None, :2]
    keys = [torch.tensor([[[1.1, 0.0, 0, 0], [0.0, 1.1, 0, 0]]]), torch.tensor([[[1.4, 0.0, 0, 0]]])]
    both, one = score_attention(queries, [*keys, torch.tensor([[[0.0, 1.2, 0, 0]]])])[:2]
    assert both > one


def test_a_blocks_share_is_the_same_among_all_as_among_some_where_the_others_are_told() -> None:
    generator = torch.Generator().manual_seed(3)
    queries = torch.randn(2, 5, 16, generator=generator)
    keys = [torch.randn(2, 6, 16, generator=generator) for _ in range(20)]
    others = queries @ torch.cat(keys[8:], 1).transpose(1, 2) * 16**-0.5
    some = score_attention(queries, keys[:8], others.logsumexp(-1))
    assert torch.allclose(some, score_attention(queries, keys)[:8], atol=1e-6)
    assert torch.allclose(
        score_attention(queries, keys, torch.full((2, 5), -torch.inf)), score_attention(queries, keys)
    )


def test_outlying_keys_are_the_ones_that_differ_from_the_rest() -> None:
    keys = torch.zeros(2, 9, 4)
    keys[0, 3, 0], keys[0, 7, 1], keys[1, 0, 2] = 5.0, 4.0, 3.0
    chosen = choose_outlying(keys, 3)
    assert chosen[0, 0].tolist() == [5, 0, 0, 0]
    assert [0.0, 4.0, 0.0, 0.0] in chosen[0].tolist()
    assert chosen[1, 0].tolist() == [0, 0, 3, 0]


def test_the_index_finds_what_brute_force_finds() -> None:
    vectors = torch.randn(300, 4, 16, generator=torch.Generator().manual_seed(2))
    of_block = SignaturePart(4, 16)
    index = SignatureIndex([of_block])
    for i, part in enumerate(vectors):
        index.add(BlockInfo(i + 1, i * DAY_NS // 100, i * DAY_NS // 100, 4), [part])
    queries = torch.randn(5, 16, generator=torch.Generator().manual_seed(3))
    found = index.search(of_block, queries, 3)
    best = (queries @ vectors.view(-1, 16).T).argmax(1) // 4 + 1
    order = found.scores.argmax(1)
    assert found.block_ids[np.arange(5), order].tolist() == best.tolist()


def test_a_question_said_many_times_over_is_ranked_as_said_once() -> None:
    """A score is a mean over tokens: so it is of more of them than are searched for, or scored, in one step."""
    world = World(200)
    asked = world.looking_for(70)
    retriever = world.retriever(candidates=200)
    blank = {layer: torch.randn(4, 3, 16, generator=world.generator) * 0.1 for layer in asked}
    once = retriever.rank(Query(by_layer=asked, blank=blank), None, ())
    for times in (30, 400):
        many = {layer: queries.repeat_interleave(times, 1) for layer, queries in asked.items()}
        ranked = retriever.rank(Query(by_layer=many, blank=blank), None, ())
        assert [hit.info.block_id for hit in ranked[:8]] == [hit.info.block_id for hit in once[:8]]
    few = world.retriever(candidates=16)
    assert few.rank(Query(by_layer=many, blank=blank), None, ())[0].info.block_id == 70


def test_a_span_narrows_the_search_to_the_blocks_that_it_touches() -> None:
    world = World(200)
    retriever = world.retriever(candidates=8)
    span = Span(50 * SECOND_NS, 90 * SECOND_NS)
    hits = retriever.rank(Query(by_layer=world.looking_for(150)), span, ())
    assert hits
    assert all(50 <= hit.info.block_id - 1 <= 90 for hit in hits)
    assert retriever.rank(Query(by_layer=world.looking_for(70)), span, ())[0].info.block_id == 70
    assert retriever.rank(Query(by_layer=world.looking_for(70)), Span(900 * SECOND_NS, None), ()) == []


def test_heads_rank_first_what_scoring_every_block_ranks_first() -> None:
    """Candidates by FAISS and exact score over their keys, against the score over all 500 blocks' keys."""
    world = World(500)
    retriever = world.retriever()
    for block_id in range(10, 500, 35):
        queries = world.looking_for(block_id, strength=3.0)
        score = score_attention(HEADS.queries(queries), [world.read_keys(i.block_id) for i in world.infos])
        assert retriever.rank(Query(by_layer=queries), None, ())[0].info.block_id == int(score.argmax()) + 1


def test_candidates_are_scored_as_among_all_blocks() -> None:
    """The first four, a blank question taken off, against those of all blocks, and of the candidates alone."""
    world = World(600, seed=9)
    retriever = world.retriever()
    agreed, alone = 0, 0
    for block_id in range(20, 600, 30):
        asked, blank = (world.looking_for(i, strength=2.0) for i in (block_id, block_id % 97 + 1))
        query = Query(by_layer=asked, blank=blank)

        def plain(ids: list[int], query: Query = query) -> set[int]:
            keys = [world.read_keys(i) for i in ids]
            lift = score_attention(HEADS.queries(query.by_layer), keys)
            lift -= score_attention(HEADS.queries(query.blank), keys)
            return {ids[i] for i in lift.topk(4).indices.tolist()}

        found = [hit.info.block_id for hit in retriever.rank(query, None, ())]
        exact = plain([info.block_id for info in world.infos])
        agreed += len(exact & {*found[:4]})
        alone += len(exact & plain(found))
    assert agreed >= 0.9 * 4 * 20
    assert agreed > alone


def test_what_a_blank_question_draws_too_hides_nothing() -> None:
    """All blocks draw the question by what it shares with a blank one; one draws it by what is its own."""
    world = World(400)
    generator = torch.Generator().manual_seed(7)
    common, own = torch.zeros(16), torch.zeros(16)
    common[0], own[1] = 4.0, 4.0
    world.keys[..., 0] = 3 + torch.randn(400, 3, 2, 6, generator=generator)
    world.keys[..., 1] = 0.0
    world.keys[122, :, :, 3, 0], world.keys[122, :, :, 3, 1] = -1.0, 4.0
    asked = dict(enumerate((common + own).expand(3, 4, 5, 16)))
    blank = dict(enumerate(common.expand(3, 4, 2, 16)))
    retriever = world.retriever()
    alone = retriever.rank(Query(by_layer=asked), None, ())
    assert 123 not in [hit.info.block_id for hit in alone]
    beyond = retriever.rank(Query(by_layer=asked, blank=blank), None, ())
    assert len(beyond) == RetrievalConfig().candidates
    assert 123 in [hit.info.block_id for hit in beyond]
    assert sum(hit.score for hit in beyond) == pytest.approx(1.0)


def test_what_stands_in_the_window_is_not_recalled() -> None:
    world = World(200)
    hits = world.retriever(candidates=20).rank(Query(by_layer=world.looking_for(10)), None, {10, 11})
    assert hits
    assert not {10, 11} & {hit.info.block_id for hit in hits}


def test_the_order_after_a_rebuild_is_the_same() -> None:
    world = World(300, seed=6)
    queries = world.looking_for(42)
    ranked = [world.retriever(candidates=32).rank(Query(by_layer=queries), None, ()) for _ in range(2)]
    assert ranked[0] == ranked[1]


def test_a_forgotten_day_is_found_no_more_and_the_others_are() -> None:
    world = World(40)
    world.infos = [
        info._replace(start_ns=i * DAY_NS // 20, end_ns=i * DAY_NS // 20) for i, info in enumerate(world.infos)
    ]
    retriever = world.retriever()
    retriever.index.forget(range(1, 21))
    assert [info.block_id for info in retriever.index.infos()] == list(range(21, 41))
    assert all(hit.info.block_id > 20 for hit in retriever.rank(Query(by_layer=world.looking_for(5)), None, ()))


def test_forgetting_blocks_of_a_day_leaves_the_index_as_if_they_had_never_come() -> None:
    world, gone = World(60), (20, 21, 40)
    queries = world.looking_for(20)
    forgetful = world.retriever(candidates=60)
    assert forgetful.rank(Query(by_layer=queries), None, ())[0].info.block_id == 20
    forgetful.index.forget(gone)
    world.infos = [info for info in world.infos if info.block_id not in gone]
    never = make_retriever(RetrievalConfig(candidates=60), SignatureLayout(HEADS), GEOMETRY, world.read_keys)
    signatures = SignatureLayout(HEADS).signatures(world.keys)
    for info in world.infos:
        never.index.add(info, never.index.cut(signatures[info.block_id - 1]))
    assert forgetful.rank(Query(by_layer=queries), None, ()) == never.rank(Query(by_layer=queries), None, ())
    searched = [
        retriever.index.search(retriever.index.parts[0], torch.eye(16), 200) for retriever in (forgetful, never)
    ]
    assert np.array_equal(searched[0].block_ids, searched[1].block_ids)
    assert np.array_equal(searched[0].scores, searched[1].scores)


def test_rekv_shared_ranks_by_mean_key_and_mean_query_over_all_heads() -> None:
    world = World(120, seed=8)
    queries = {layer: torch.randn(4, 5, 16, generator=world.generator) for layer in range(3)}
    hits = world.retriever("rekv-shared", recall_blocks=5).rank(Query(by_layer=queries), None, {3})
    score = torch.zeros(120)
    for layer in range(3):
        mean_query = queries[layer].mean(1).view(2, 2, 16).sum(1)
        score += (world.keys[:, layer].mean(2) * mean_query).sum((1, 2))
    expected = [i for i in (score.argsort(descending=True) + 1).tolist() if i != 3][:5]
    assert [hit.info.block_id for hit in hits[:5]] == expected


def test_recent_takes_the_newest_that_are_not_in_the_window() -> None:
    hits = World(30).retriever("recent", recall_blocks=3).rank(Query(), None, {30, 29})
    assert [hit.info.block_id for hit in hits] == [28, 27, 26]


def test_without_calibration_heads_fall_back_to_rekv_shared() -> None:
    made = make_retriever(RetrievalConfig(), SignatureLayout(None), GEOMETRY, lambda _: torch.empty(0))
    assert isinstance(made, SharedRetriever)
    assert made.last_layer is None


def test_rows_of_blocks_are_the_blocks() -> None:
    blocks = [BlockInfo(i + 1, 10 * i, 10 * i + 9, 5 + i % 3, gap=i % 4 == 0) for i in range(12)]
    rows = BlockRows(np.array([tuple(block) for block in blocks], SPAN_ROWS))
    assert [*rows] == [rows[i] for i in range(len(rows))] == blocks
    assert [*rows[3:5]] == blocks[3:5]
    assert [*rows.video()] == [block for block in blocks if not block.gap]
    assert [*rows.without({2, 5, 99})] == [block for block in blocks if block.block_id not in (2, 5)]
    assert (rows.most_tokens, rows[:0].most_tokens) == (7, 1)


def test_the_newest_blocks_are_those_that_came_last_though_the_clock_was_set_back() -> None:
    index = SignatureIndex([SignaturePart(1, 4)])
    days = [3, 3, 5, 5, 3, 3]  # the clock was ahead by two days for a while
    for number, day in enumerate(days, 1):
        start_ns = (day * 86_400 + number) * 10**9
        index.add(BlockInfo(number, start_ns, start_ns, 1), [torch.zeros(1, 4)])
    assert [info.block_id for info in index.newest(3)] == [4, 5, 6]
    assert [info.block_id for info in index.newest(100)] == [1, 2, 3, 4, 5, 6]
    assert index.newest(0) == []
    first = index.first()
    assert first is not None
    assert first.block_id == 1
