"""`Retriever`: a question in, the blocks to recall out, best first. How they are chosen is said in `retrievers/`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from ...memory.block import BlockInfo
from ..index.index import Found, SignatureIndex
from ..steps import Steps
from ..time.span import Span

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


def best_hits(index: SignatureIndex, found: Found, exclude: Collection[int]) -> list[Hit]:
    """What a search for one query found, best first, without some blocks."""
    pairs = zip(found.scores[0].tolist(), found.block_ids[0].tolist(), strict=True)
    ranked = sorted(((s, i) for s, i in pairs if i >= 0 and i not in exclude), reverse=True)
    shares = torch.tensor([score for score, _ in ranked]).softmax(0).tolist()
    infos = index.by_id([block_id for _, block_id in ranked])
    return [Hit(info, share) for info, share in zip(infos, shares, strict=True)]
