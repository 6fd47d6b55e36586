"""`Retriever`: a question in, the blocks to recall out, best first. How they are chosen is said in `retrievers/`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from ...memory.block import BlockInfo, Geometry
from ..index.index import SignatureIndex
from ..index.search import SearchResult
from ..settings import RetrievalConfig
from ..signature import SignatureLayout, SignaturePart
from ..steps import Steps
from ..time.span import Span

ReadKeys = Callable[[int], Tensor]
EmbedText = Callable[[str], Tensor]


class Hit(NamedTuple):
    """A block and its share of the score among those that were looked at, 0 to 1."""

    info: BlockInfo
    score: float


@dataclass(frozen=True)
class Setup:
    """What the retrievers of a stream are made from.

    Attributes:
        read_keys: a block's keys of the retrieval heads, `[R, T, D]` float32.
        embed: a text's vector `[E]`; None where there is no image-text model.
    """

    config: RetrievalConfig
    layout: SignatureLayout
    geometry: Geometry
    read_keys: ReadKeys
    embed: EmbedText | None


RankLayer: TypeAlias = Callable[[int, Tensor, Span | None, Collection[int]], list[Hit]]


class Query(NamedTuple):
    """A question as a retriever sees it.

    Attributes:
        text: in words.
        by_layer: its queries in each layer, `[Hq, Tq, D]`, float32, before rotary, as far as `last_layer`.
        blank: the same of a question that asks for nothing, behind the same window.
    """

    text: str = ""
    by_layer: dict[int, Tensor] = {}  # noqa: RUF012
    blank: dict[int, Tensor] = {}  # noqa: RUF012


class Retriever(ABC):
    """Chooses the blocks of one stream. Belongs to one thread.

    A new kind says in `parts` what of a signature it searches by, and ranks in `rank`.

    Args:
        index: made of those parts; other retrievers may search it too.

    Attributes:
        last_layer: how far a question must run through the model before `rank`; None is all the way, -1 not at all.
        rank_layer: as `rank`, for one layer, given that layer's queries `[Hq, T, D]`. Only where every layer recalls
            blocks of its own; then it is asked in place of `rank` as the question runs. None where all layers share one
            ranking.
    """

    last_layer: int | None = -1
    rank_layer: RankLayer | None = None

    def __init__(self, index: SignatureIndex, setup: Setup) -> None:
        self.index, self._config = index, setup.config

    @staticmethod
    def parts(setup: Setup) -> list[SignaturePart]:
        """What of a signature its index holds: nothing, where the blocks' times are enough."""
        return []

    @abstractmethod
    def rank(self, query: Query, span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """Blocks for a question, best first.

        Args:
            span: only blocks that it touches; None is all time.
            exclude: ids that stand in the context anyway.
        """

    def rank_in_steps(self, query: Query, span: Span | None, exclude: Collection[int]) -> Steps[list[Hit]]:
        """As `rank`; where that takes long, it yields so that others have turns in between."""
        yield from ()
        return self.rank(query, span, exclude)


def take_best(index: SignatureIndex, found: SearchResult, exclude: Collection[int]) -> list[Hit]:
    """What a search for one query found, best first, without some blocks."""
    pairs = zip(found.scores[0].tolist(), found.block_ids[0].tolist(), strict=True)
    ranked = sorted(((s, i) for s, i in pairs if i >= 0 and i not in exclude), reverse=True)
    shares = torch.tensor([score for score, _ in ranked]).softmax(0).tolist()
    infos = index.by_id([block_id for _, block_id in ranked])
    return [Hit(info, share) for info, share in zip(infos, shares, strict=True)]


def merge_layers(rankings: Iterable[Collection[Hit]]) -> list[Hit]:
    """The blocks of every layer's ranking by the share of the layers in which they stand, then by their scores."""
    layers, infos = 0, dict[int, BlockInfo]()
    times, scores = defaultdict[int, int](int), defaultdict[int, float](float)
    for ranking in rankings:
        layers += 1
        for hit in ranking:
            infos[hit.info.block_id] = hit.info
            times[hit.info.block_id] += 1
            scores[hit.info.block_id] += hit.score
    order = sorted(infos, key=lambda i: (-times[i], -scores[i], i))
    return [Hit(infos[i], times[i] / layers) for i in order]
