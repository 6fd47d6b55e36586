"""`UniformRetriever`: blocks evenly over the span."""

from __future__ import annotations

from collections.abc import Collection

from ..time.span import Span
from .retriever import Hit, Query, Retriever


class UniformRetriever(Retriever):
    """Takes blocks evenly over the span, or over all time; the question is not looked at.

    Those that halve the span come first, so that the first few of them lie about evenly too.
    """

    def rank(self, query: Query, span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """See `Retriever.rank`."""
        infos = self.index.evenly(self._config.recall_blocks, span, exclude)
        return [Hit(infos[i], 1 / len(infos)) for i in _order_by_halves(len(infos))]


def _order_by_halves(count: int) -> list[int]:
    """0 to count − 1 in the order of their bits read backwards: 0 4 2 6 1 5 3 7."""
    width = max(count - 1, 0).bit_length()
    return sorted(range(count), key=lambda i: f"{i:0{width}b}"[::-1])
