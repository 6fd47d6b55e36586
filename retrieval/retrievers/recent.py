"""`RecentRetriever`: the newest blocks."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

from torch import Tensor

from ..index.index import SignatureIndex
from ..settings import RetrievalConfig
from ..time.span import Span
from .retriever import Hit, Query


class RecentRetriever:
    """Takes the newest blocks; the question is not looked at."""

    last_layer: int | None = -1

    def __init__(self, config: RetrievalConfig) -> None:
        self._config = config
        self.index = SignatureIndex([])

    def parts(self, signature: Tensor) -> list[Tensor]:
        """Nothing: times are enough."""
        return []

    def rank(self, query: Query, span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """See `Retriever.rank`."""
        count = self._config.recall_blocks + len(exclude)
        newest = self.index.newest(count) if span is None else self.index.infos(span)
        others = (info for info in reversed(newest) if info.block_id not in exclude)
        fair = list(islice(others, self._config.recall_blocks))
        return [Hit(info, 1 / len(fair)) for info in fair]
