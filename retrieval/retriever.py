"""`Retriever`: a question in, the blocks to recall out, best first. How they are chosen is said in `retrievers/`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec
import torch
from torch import Tensor

from ..memory.block import BlockInfo, Geometry
from .index import Found, SignatureIndex
from .settings import RetrievalConfig
from .signature import SignatureLayout
from .steps import Steps
from .timespan import Span

ReadKeys = Callable[[int], Tensor]
EmbedText = Callable[[str], Tensor]


class Hit(NamedTuple):
    """A block and its share of the score among those that were looked at, 0 to 1."""

    info: BlockInfo
    score: float


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


class Retriever(Protocol):
    """Chooses the blocks of one stream. Belongs to one thread."""

    index: SignatureIndex
    last_layer: int | None  # how far a question must run through the model; None is all the way, -1 not at all

    def parts(self, signature: Tensor) -> list[Tensor]:
        """What of a signature the index needs."""

    def rank(self, query: Query, span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """Blocks for a question, best first.

        Args:
            span: only blocks that it touches; None is all time.
            exclude: ids that stand in the context anyway.
        """


@runtime_checkable
class Stepwise(Protocol):
    """A retriever whose ranking takes so long that others must have turns in between."""

    def rank_in_steps(self, query: Query, span: Span | None, exclude: Collection[int]) -> Steps[list[Hit]]:
        """As `Retriever.rank`."""


def make_retriever(
    config: RetrievalConfig,
    layout: SignatureLayout,
    geometry: Geometry,
    read_keys: ReadKeys,
    embed: EmbedText | None = None,
) -> Retriever:
    """The retriever that the configuration names. Where the model has no calibration, `rekv-shared` is for `heads`.

    Args:
        read_keys: a block's keys of the retrieval heads, `[R, T, D]` float32.
        embed: a text's vector `[E]`; `external` needs it, and without it `hybrid` takes `rekv-shared` beside `heads`.
    """
    # Each of them is made of what this file defines.
    from .retrievers.external import ExternalRetriever
    from .retrievers.heads import HeadsRetriever
    from .retrievers.hybrid import HybridRetriever
    from .retrievers.recent import RecentRetriever
    from .retrievers.rekv import RekvRetriever
    from .retrievers.shared import SharedRetriever
    from .retrievers.uniform import UniformRetriever

    deep = config if config.retriever != "hybrid" else msgspec.structs.replace(config, recall_blocks=config.candidates)
    shared = SharedRetriever(deep, layout, geometry)
    external = None if embed is None else ExternalRetriever(deep, layout, geometry, embed)
    heads = None if layout.heads is None else HeadsRetriever(config, layout, geometry.head_dim, read_keys)
    match config.retriever:
        case "recent":
            return RecentRetriever(config)
        case "uniform":
            return UniformRetriever(config)
        case "rekv":
            return RekvRetriever(config, layout, geometry)
        case "rekv-shared":
            return shared
        case "external":
            assert external is not None, "retriever external needs an image-text model"
            return external
        case "heads":
            return heads or shared
        case "hybrid":
            if heads is None and external is None:
                return shared
            return HybridRetriever(heads or shared, external or shared)


def best_hits(index: SignatureIndex, found: Found, exclude: Collection[int]) -> list[Hit]:
    """What a search for one query found, best first, without some blocks."""
    pairs = zip(found.scores[0].tolist(), found.block_ids[0].tolist(), strict=True)
    ranked = sorted(((s, i) for s, i in pairs if i >= 0 and i not in exclude), reverse=True)
    shares = torch.tensor([score for score, _ in ranked]).softmax(0).tolist()
    infos = index.by_id([block_id for _, block_id in ranked])
    return [Hit(info, share) for info, share in zip(infos, shares, strict=True)]
