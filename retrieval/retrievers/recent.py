"""`RecentRetriever`: the newest blocks."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

from ..time.span import Span
from .retriever import Hit, Query, Retriever


class RecentRetriever(Retriever):
    """Takes the newest blocks; the question is not looked at."""

    def rank(self, query: Query, span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """See `Retriever.rank`."""
        count = self._config.recall_blocks + len(exclude)
        newest = self.index.newest(count) if span is None else self.index.infos(span)
        others = (info for info in reversed(newest) if info.block_id not in exclude)
        chosen = list(islice(others, self._config.recall_blocks))
        return [Hit(info, 1 / len(chosen)) for info in chosen]
