"""The baselines on the same memory: what each ranks first, against a plain loop."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from longwatch.memory.block import BlockInfo
from longwatch.retrieval.index.index import SignatureIndex
from longwatch.retrieval.retrievers.rekv import RekvRetriever
from longwatch.retrieval.retrievers.retriever import Hit, Query, merge_layers
from longwatch.retrieval.time.span import Span

from .test_retrieval import DAY_NS, SECOND_NS, World


def test_rekv_ranks_in_each_layer_by_that_layers_mean_key_and_mean_query() -> None:
    """Heads side by side as the paper has them, each KV head's key once for each of its query heads."""
    world = World(120, seed=8)
    retriever = world.retriever("rekv", recall_blocks=5)
    assert isinstance(retriever, RekvRetriever)
    rankings = []
    for layer in range(3):
        queries = torch.randn(4, 5, 16, generator=world.generator)
        of_blocks = world.keys[:, layer].mean(2).repeat_interleave(2, 1)
        score = of_blocks.flatten(1) @ queries.mean(1).flatten()
        expected = [i for i in (score.argsort(descending=True) + 1).tolist() if i not in (3, 4)]
        hits = retriever.rank_layer(layer, queries, None, {3, 4})
        assert [hit.info.block_id for hit in hits[:5]] == expected[:5]
        rankings.append(expected[0])
        span = Span(20 * SECOND_NS, 59 * SECOND_NS)
        of_span = [i for i in expected if 21 <= i <= 60]
        assert [hit.info.block_id for hit in retriever.rank_layer(layer, queries, span, {3, 4})[:5]] == of_span[:5]
    assert len(set(rankings)) > 1, "the layers must disagree, or the test shows nothing"


def test_only_rekv_has_a_ranking_for_each_layer() -> None:
    names = ("heads", "hybrid", "rekv", "rekv-shared", "recent", "uniform")
    assert [name for name in names if World(5).retriever(name).rank_layer is not None] == ["rekv"]


def test_the_layers_rankings_as_one_count_the_layers() -> None:
    infos = [BlockInfo(i, i, i, 1) for i in range(5)]
    rankings = [
        [Hit(infos[3], 0.9), Hit(infos[1], 0.1)],
        [Hit(infos[1], 0.6), Hit(infos[2], 0.4)],
        [Hit(infos[4], 0.7), Hit(infos[1], 0.3)],
        [],
    ]
    ranked = merge_layers(rankings)
    assert [(hit.info.block_id, hit.score) for hit in ranked] == [(1, 0.75), (3, 0.25), (4, 0.25), (2, 0.25)]
    assert merge_layers([]) == []


@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_uniform_takes_blocks_evenly_over_all_time_first_and_last_with_them(count: int) -> None:
    world = World(400)
    days = [i * DAY_NS // 150 for i in range(400)]
    world.infos = [info._replace(start_ns=ns, end_ns=ns) for info, ns in zip(world.infos, days, strict=True)]
    hits = world.retriever("uniform", recall_blocks=count).rank(Query(), None, {400, 399})
    ids = sorted(hit.info.block_id for hit in hits)
    assert len(set(ids)) == count
    assert ids[0] == 1
    assert count == 1 or ids[-1] == 398
    steps = [later - earlier for earlier, later in pairwise(ids)]
    assert not steps or max(steps) - min(steps) <= 1


def test_the_first_of_uniform_lie_about_evenly_too() -> None:
    hits = World(160).retriever("uniform", recall_blocks=16).rank(Query(), None, ())
    for count in (4, 8):
        ids = [0, *sorted(hit.info.block_id for hit in hits[:count]), 161]
        assert max(later - earlier for earlier, later in pairwise(ids)) <= 1.6 * 160 / count


def test_uniform_keeps_to_the_span_and_takes_all_of_a_short_one() -> None:
    retriever = World(200).retriever("uniform", recall_blocks=6)
    ids = [hit.info.block_id for hit in retriever.rank(Query(), Span(50 * SECOND_NS, 90 * SECOND_NS), {51, 91})]
    assert sorted(ids) == [52, 60, 67, 75, 82, 90]
    few = retriever.rank(Query(), Span(50 * SECOND_NS, 52 * SECOND_NS), {52})
    assert sorted(hit.info.block_id for hit in few) == [51, 53]
    assert retriever.rank(Query(), Span(900 * SECOND_NS, None), ()) == []
    assert SignatureIndex([]).evenly(4, None, ()) == []
