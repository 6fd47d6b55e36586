"""A day in clusters against a look at every vector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from longwatch.memory.block import BlockInfo
from longwatch.memory.partition import PartitionVersion
from longwatch.retrieval.index.clusters import FEWEST, LISTS_A_DAY, LISTS_A_VECTOR, Clusters, find_nearest_lists
from longwatch.retrieval.index.day import IndexDay
from longwatch.retrieval.index.dayfile import pack_day, read_day
from longwatch.retrieval.index.flat import Flat
from longwatch.retrieval.index.index import SignatureIndex
from longwatch.retrieval.index.search import MANY_DAYS, SearchResult
from longwatch.retrieval.signature import SignaturePart
from longwatch.retrieval.time.span import Span

DIM, PER_BLOCK, SECOND_NS, DAY_NS = 16, 8, 1_000_000_000, 86_400_000_000_000
BLOCKS = 5 * FEWEST // PER_BLOCK
EIGHT, ONE = PARTS = (SignaturePart(PER_BLOCK, DIM), SignaturePart(1, DIM))
SHAPES = [(PER_BLOCK, DIM), (1, DIM)]
VERSION = PartitionVersion(1, 2, 3, 4)


def vectors(seed: int) -> NDArray[np.float32]:
    """`[BLOCKS · 8, DIM]`: a few hundred things that are seen again and again, as a camera sees them."""
    rng = np.random.default_rng(seed)
    things = rng.normal(size=(300, DIM)) * 2
    seen = things[rng.integers(300, size=BLOCKS * PER_BLOCK)] + rng.normal(size=(BLOCKS * PER_BLOCK, DIM)) * 0.3
    return seen.astype(np.float16).astype(np.float32)


def info(number: int, day: int = 0) -> BlockInfo:
    start_ns = day * DAY_NS + number * SECOND_NS
    return BlockInfo(day * BLOCKS + number + 1, start_ns, start_ns, tokens=24)


def flat_day(kept: NDArray[np.float32], day: int = 0) -> IndexDay:
    made = IndexDay(SHAPES)
    for number, block in enumerate(torch.from_numpy(kept).view(BLOCKS, PER_BLOCK, DIM)):
        made.add(info(number, day), [block, block.mean(0, keepdim=True)])
    return made


def index_of(*days: IndexDay) -> SignatureIndex:
    index = SignatureIndex(PARTS)
    for day in days:
        index.take(day)
    return index


@pytest.fixture(scope="module")
def kept() -> NDArray[np.float32]:
    return vectors(0)


@pytest.fixture(scope="module")
def sealed(kept: NDArray[np.float32]) -> IndexDay:
    return flat_day(kept).sealed()


def queries(kept: NDArray[np.float32]) -> torch.Tensor:
    some = np.random.default_rng(5).integers(len(kept), size=20)
    return torch.from_numpy(kept[some]) + 0.3


def brute_force(kept: NDArray[np.float32], asked: torch.Tensor, k: int, rows: NDArray[np.bool_]) -> list[list[int]]:
    """Block ids of the nearest vectors, best first."""
    products = asked.double().numpy() @ kept.astype(np.float64).T
    products[:, ~rows] = -np.inf
    return (np.argsort(-products, axis=1, kind="stable")[:, :k] // PER_BLOCK + 1).tolist()


def shared(found: SearchResult, exact: list[list[int]]) -> float:
    of_each = [len({*a.tolist()} & {*b}) / len({*b}) for a, b in zip(found.block_ids, exact, strict=True)]
    return float(np.mean(of_each))


def test_a_day_in_clusters_finds_nearly_all_that_brute_force_finds(kept: NDArray[np.float32], sealed: IndexDay) -> None:
    assert isinstance(sealed.vectors[0], Clusters)
    asked = queries(kept)
    found = index_of(sealed).search(EIGHT, asked, 24)
    assert shared(found, brute_force(kept, asked, 24, np.ones(len(kept), np.bool_))) > 0.99
    assert (np.diff(found.scores, axis=1) <= 0).all()


def test_within_a_span_nothing_is_missed(kept: NDArray[np.float32], sealed: IndexDay) -> None:
    asked, inside = queries(kept), np.zeros(len(kept), np.bool_)
    inside[600 * PER_BLOCK : 901 * PER_BLOCK] = True
    found = index_of(sealed).search(EIGHT, asked, 24, Span(600 * SECOND_NS, 900 * SECOND_NS))
    assert found.block_ids.tolist() == brute_force(kept, asked, 24, inside)


def test_one_vector_for_a_block_stays_flat_and_exact(kept: NDArray[np.float32], sealed: IndexDay) -> None:
    assert isinstance(sealed.vectors[1], Flat)
    asked, means = queries(kept), kept.reshape(BLOCKS, PER_BLOCK, DIM).mean(1).astype(np.float16).astype(np.float64)
    expected = np.argsort(-(asked.double().numpy() @ means.T), axis=1)[:, :5] + 1
    assert index_of(sealed).search(ONE, asked, 5).block_ids.tolist() == expected.tolist()


def test_a_day_of_few_vectors_stays_flat(kept: NDArray[np.float32]) -> None:
    day = IndexDay(SHAPES)
    for number, block in enumerate(torch.from_numpy(kept).view(BLOCKS, PER_BLOCK, DIM)[:50]):
        day.add(info(number), [block, block[:1]])
    assert all(isinstance(part, Flat) for part in day.sealed().vectors)


def test_clusters_hold_every_vector_in_its_place_and_the_same_ones_make_the_same_file(
    kept: NDArray[np.float32],
) -> None:
    one, other = (flat_day(kept).sealed() for _ in range(2))
    assert np.array_equal(one.vectors[0].all(), kept)
    assert pack_day(one, VERSION) == pack_day(other, VERSION)


def test_clusters_in_a_file_find_what_they_found_in_memory(
    kept: NDArray[np.float32], sealed: IndexDay, tmp_path: Path
) -> None:
    file = tmp_path / "index"
    file.write_bytes(b"".join(pack_day(sealed, VERSION)))
    filed = SignatureIndex(PARTS)
    filed.take(read_day(file, VERSION, SHAPES))
    asked = queries(kept)
    here, there = index_of(sealed).search(EIGHT, asked, 24), filed.search(EIGHT, asked, 24)
    assert np.array_equal(here.block_ids, there.block_ids)
    assert np.array_equal(here.scores, there.scores)


def test_several_days_are_searched_as_one(kept: NDArray[np.float32], sealed: IndexDay) -> None:
    """Two in clusters, one flat: the best of all, best first."""
    second, third = vectors(1), vectors(2)
    index = index_of(sealed, flat_day(second, 1).sealed(), flat_day(third, 2))
    asked = queries(np.concatenate([kept, second, third]))
    everything = np.concatenate([kept, second, third])
    found = index.search(EIGHT, asked, 24)
    assert found.block_ids.shape == (20, 24)
    assert shared(found, brute_force(everything, asked, 24, np.ones(len(everything), np.bool_))) > 0.98
    assert (np.diff(found.scores, axis=1) <= 0).all()


def test_of_many_days_each_gives_its_best_third_at_most(sealed: IndexDay) -> None:
    """All days hold the same, but for one whose vectors are longer, so that all of the best are there."""
    long = flat_day(vectors(0) * 3, MANY_DAYS).sealed()
    index, asked = index_of(long), queries(vectors(0))
    for number in range(MANY_DAYS - 2):
        day = IndexDay(SHAPES)
        day.rows, day.count, day.vectors = sealed.rows.copy(), sealed.count, sealed.vectors
        for name in ("start_ns", "end_ns"):
            day.rows[name] += number * DAY_NS
        day.rows["block_id"] += number * BLOCKS
        index.take(day)
    few = index.search(EIGHT, asked, 24)
    assert (few.block_ids > MANY_DAYS * BLOCKS).all(), "fewer than a dozen days: all are of the long one"
    index.take(flat_day(vectors(1), MANY_DAYS - 2).sealed())
    many = index.search(EIGHT, asked, 24)
    assert np.array_equal(many.block_ids[:, :8], few.block_ids[:, :8])
    assert (many.block_ids[:, 8:] <= MANY_DAYS * BLOCKS).all()
    assert (many.block_ids > 0).all()


def test_parts_searched_together_are_as_each_by_itself(kept: NDArray[np.float32], sealed: IndexDay) -> None:
    asked, index = queries(kept), index_of(sealed)
    both = index.search_parts({EIGHT: asked, ONE: asked[:3]}, 7)
    for part, some in ((EIGHT, asked), (ONE, asked[:3])):
        alone = index.search(part, some, 7)
        assert np.array_equal(both[part].block_ids, alone.block_ids)
        assert np.array_equal(both[part].scores, alone.scores)


def test_the_lists_looked_at_are_the_nearest_of_all_days_together(sealed: IndexDay) -> None:
    """So of a day that has nothing like a query, few."""
    faint = flat_day(vectors(0) * 0.05).sealed()
    days = [part for day in (sealed, faint) if isinstance(part := day.vectors[0], Clusters)]
    asked = vectors(0)[:9]
    of_each = [lists.tolist() for lists in find_nearest_lists(asked, 2 * LISTS_A_DAY // LISTS_A_VECTOR, days)]
    looked_at = [[(d, i) for d, lists in enumerate(of_each) for i in lists[q] if i >= 0] for q in range(9)]
    products = np.concatenate([asked @ day.centres.T for day in days], 1)
    for q, best in enumerate(np.argsort(-products, axis=1)[:, : 2 * LISTS_A_DAY]):
        assert sorted(looked_at[q]) == sorted(divmod(i, len(days[0].centres)) for i in best.tolist())
    assert sum(d == 0 for lists in looked_at for d, _ in lists) > sum(d == 1 for lists in looked_at for d, _ in lists)


def test_a_day_in_clusters_still_takes_blocks_in_and_lets_go_of_them(
    kept: NDArray[np.float32], sealed: IndexDay
) -> None:
    asked, index = queries(kept), index_of(sealed)
    gone = {int(i) for i in index.search(EIGHT, asked[:1], 8).block_ids[0]}
    index.forget(gone)
    assert gone.isdisjoint(index.search(EIGHT, asked, 24).block_ids.ravel().tolist())
    assert len(index) == BLOCKS - len(gone)
    strong = torch.full((PER_BLOCK, DIM), 0.0)
    strong[0] = asked[0] * 5
    index.add(info(BLOCKS + 5), [strong, strong[:1]])
    assert index.search(EIGHT, asked[:1], 1).block_ids.tolist() == [[BLOCKS + 6]]
    assert len(index_of(sealed)) == BLOCKS, "the day itself is as it was"
