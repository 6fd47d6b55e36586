"""Ranking by an image-text model's vectors, and by two rankings as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from longwatch.memory.partition import PartitionVersion
from longwatch.retrieval.embedding import EmbeddingSpace
from longwatch.retrieval.index.day import IndexDay
from longwatch.retrieval.index.dayfile import pack_day, read_day
from longwatch.retrieval.retrievers.choice import make_retriever
from longwatch.retrieval.retrievers.hybrid import HybridRetriever
from longwatch.retrieval.retrievers.retriever import Hit, Query, Retriever
from longwatch.retrieval.retrievers.shared import SharedRetriever
from longwatch.retrieval.settings import RetrievalConfig
from longwatch.retrieval.signature import SignatureLayout
from longwatch.retrieval.time.span import Span

from .test_retrieval import GEOMETRY, HEADS, SECOND_NS, World

SPACE, OTHER = EmbeddingSpace(20, "ab" * 32), EmbeddingSpace(20, "cd" * 32)
WITHOUT = SignatureLayout(HEADS)


def layout(space: EmbeddingSpace) -> SignatureLayout:
    return SignatureLayout(HEADS, embedding=space)


class PicturedWorld(World):
    """A world whose blocks have pictures, and a question that means one of them."""

    def __init__(self, count: int, dim: int = 20) -> None:
        super().__init__(count)
        self.pictures = torch.randn(count, dim, generator=self.generator) * 3

    def embed(self, question: str) -> Tensor:
        """ "7" means the seventh block's picture, about."""
        noise = torch.randn(self.pictures.shape[1], generator=torch.Generator().manual_seed(int(question)))
        return self.pictures[int(question) - 1] + noise

    def made(
        self, name: str, signatures: Sequence[Tensor], space: EmbeddingSpace | None = SPACE, **options: int
    ) -> Retriever:
        config = RetrievalConfig(retriever=name, **options)  # type: ignore[arg-type]
        of_space = WITHOUT if space is None else layout(space)
        embed = None if space is None else self.embed
        made = make_retriever(config, of_space, GEOMETRY, self.read_keys, embed)
        for info, signature in zip(self.infos, signatures, strict=True):
            made.index.add(info, made.index.cut(signature))
        return made


def ids(hits: list[Hit]) -> list[int]:
    return [hit.info.block_id for hit in hits]


@pytest.mark.parametrize("dim", [3, 16, 20, 33])
def test_external_ranks_by_cosine_whatever_the_vectors_length(dim: int) -> None:
    """With vectors that fill their rows of the signature, and that do not."""
    world, space = PicturedWorld(150, dim), EmbeddingSpace(dim, "ab" * 32)
    external = world.made("external", list(layout(space).signatures(world.keys, world.pictures)), space)
    for question in ("7", "80", "149"):
        cosines = normalize(world.pictures, dim=1) @ normalize(world.embed(question), dim=0)
        expected = [i for i in (cosines.argsort(descending=True) + 1).tolist() if i not in (8, 9)]
        hits = external.rank(Query(question), None, {8, 9})
        # Vectors are kept in 16 bits: what comes out may differ in cosine by a thousandth.
        best = cosines[torch.tensor(ids(hits)) - 1]
        assert (best - cosines[torch.tensor(expected[: len(hits)]) - 1]).abs().max() <= 2e-3
        assert len(hits) >= 12
        span = Span(20 * SECOND_NS, 59 * SECOND_NS)
        assert all(21 <= i <= 60 for i in ids(external.rank(Query(question), span, ())))


def test_the_other_rows_of_a_signature_are_as_without_a_picture() -> None:
    world = PicturedWorld(5)
    plain, seen = WITHOUT.signatures(world.keys), layout(SPACE).signatures(world.keys, world.pictures)
    for a, b in zip(plain, seen, strict=True):
        for kind in (SignatureLayout.head_parts, SignatureLayout.layer_parts):
            for old, new in zip(kind(WITHOUT, GEOMETRY), kind(layout(SPACE), GEOMETRY), strict=True):
                assert torch.equal(old.cut(a), new.cut(b))
                assert torch.equal(old.cut(a), old.cut(b))


def test_blocks_seen_without_the_model_or_with_another_are_not_found_and_the_rest_are() -> None:
    """A store of three ages: before any image-text model, with another of the same width, and with this one."""
    world = PicturedWorld(90)
    before, of_others, ours = (
        of.signatures(world.keys, world.pictures if of is not WITHOUT else None)
        for of in (WITHOUT, layout(OTHER), layout(SPACE))
    )
    external = world.made("external", [*before[:30], *of_others[30:60], *ours[60:]], recall_blocks=90)
    for question in ("10", "45", "75"):
        assert sorted(ids(external.rank(Query(question), None, ()))) == list(range(61, 91))
    assert ids(external.rank(Query("75"), None, ()))[0] == 75
    wider = layout(EmbeddingSpace(40, "ef" * 32)).signatures(world.keys, torch.randn(90, 40))
    external = world.made("external", [*wider[:60], *ours[60:]], recall_blocks=90)
    assert sorted(ids(external.rank(Query("10"), None, ()))) == list(range(61, 91))


def test_a_block_without_a_picture_is_not_found() -> None:
    """A gap, say: rows of the same number, but nothing in them."""
    world = PicturedWorld(20)
    signatures = list(layout(SPACE).signatures(world.keys, world.pictures))
    signatures[4] = layout(SPACE).signatures(world.keys[4:5])[0]
    assert signatures[4].shape == signatures[5].shape
    external = world.made("external", signatures, recall_blocks=20)
    assert sorted(ids(external.rank(Query("5"), None, ()))) == [i for i in range(1, 21) if i != 5]


def test_an_index_file_of_another_models_vectors_finds_nothing(tmp_path: Path) -> None:
    """Of the same shape and of the same data, so that the file itself cannot know."""
    world, version, config = (
        PicturedWorld(30),
        PartitionVersion(3, 1, 30, 30),
        RetrievalConfig(retriever="external", recall_blocks=30),
    )
    for space, found in ((OTHER, []), (SPACE, list(range(1, 31)))):
        old, new = (make_retriever(config, layout(of), GEOMETRY, world.read_keys, world.embed) for of in (space, SPACE))
        day = IndexDay(old.index.shapes)
        for info, signature in zip(world.infos, layout(space).signatures(world.keys, world.pictures), strict=True):
            day.add(info, old.index.cut(signature))
        (tmp_path / "day").write_bytes(b"".join(pack_day(day, version)))
        new.index.take(read_day(tmp_path / "day", version, new.index.shapes))
        assert sorted(ids(new.rank(Query("3"), None, ()))) == found


def fused(apart: Sequence[Retriever], queries: dict[int, Tensor], span: Span | None, exclude: set[int]) -> list[int]:
    """The ids by the sum of 1 / (60 + rank), question "50"."""
    scores: dict[int, float] = {}
    for retriever in apart:
        for rank, hit in enumerate(retriever.rank(Query("50", queries), span, exclude)):
            scores[hit.info.block_id] = scores.get(hit.info.block_id, 0.0) + 1 / (61 + rank)
    return sorted(scores, key=lambda i: (-scores[i], i))


@pytest.mark.parametrize("second", ["external", "rekv-shared"])
def test_hybrid_is_the_reciprocal_rank_fusion_of_both_rankings(second: str) -> None:
    world = PicturedWorld(200)
    space = SPACE if second == "external" else None
    of = WITHOUT if space is None else layout(space)
    signatures = list(of.signatures(world.keys, None if space is None else world.pictures))
    hybrid = world.made("hybrid", signatures, space, candidates=40)
    assert isinstance(hybrid, HybridRetriever)
    assert hybrid.last_layer == (HEADS.last_layer if second == "external" else None)
    apart = [world.made(name, signatures, space, candidates=40, recall_blocks=40) for name in ("heads", second)]
    queries, exclude, span = world.looking_for(20), {3, 20, 150}, Span(None, 180 * SECOND_NS)
    hits = hybrid.rank(Query("50", queries), span, exclude)
    assert ids(hits) == fused(apart, queries, span, exclude)
    assert sum(hit.score for hit in hits) == pytest.approx(1.0)
    assert ids(apart[0].rank(Query("50", queries), span, exclude)) != ids(
        apart[1].rank(Query("50", queries), span, exclude)
    )
    gone = ids(hits)[:2]
    for retriever in (hybrid, *apart):
        retriever.index.forget(gone)
    left = ids(hybrid.rank(Query("50", queries), span, exclude))
    assert left == fused(apart, queries, span, exclude)
    assert not {*gone} & {*left}


def test_the_rankings_of_a_hybrid_search_one_index_that_holds_what_each_needs() -> None:
    world = PicturedWorld(20)
    signatures = list(layout(SPACE).signatures(world.keys, world.pictures))
    hybrid, heads, external = (world.made(name, signatures) for name in ("hybrid", "heads", "external"))
    assert isinstance(hybrid, HybridRetriever)
    assert hybrid.index.parts == [*heads.index.parts, *external.index.parts]
    assert all(ranking.index is hybrid.index for ranking in hybrid._rankings)


def test_without_calibration_hybrid_takes_the_mean_keys_beside_the_pictures() -> None:
    world, of = PicturedWorld(90), SignatureLayout(None, embedding=SPACE)
    names, signatures = ("hybrid", "rekv-shared", "external"), of.signatures(world.keys, world.pictures)
    made = []
    for name in names:
        config = RetrievalConfig(retriever=name, candidates=30, recall_blocks=12 if name == "hybrid" else 30)  # type: ignore[arg-type]
        made.append(make_retriever(config, of, GEOMETRY, world.read_keys, world.embed))
        for info, signature in zip(world.infos, signatures, strict=True):
            made[-1].index.add(info, made[-1].index.cut(signature))
    queries = {layer: torch.randn(4, 5, 16, generator=world.generator) for layer in range(3)}
    assert ids(made[0].rank(Query("50", queries), None, ())) == fused(made[1:], queries, None, set())
    assert made[0].last_layer is None


def test_with_neither_calibration_nor_pictures_hybrid_is_rekv_shared() -> None:
    made = make_retriever(
        RetrievalConfig(retriever="hybrid"), SignatureLayout(None), GEOMETRY, lambda _: torch.empty(0)
    )
    assert isinstance(made, SharedRetriever)
