"""`UniformRetriever`: blocks evenly over the span."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor

from ..index.index import SignatureIndex
from ..settings import RetrievalConfig
from ..time.span import Span
from .retriever import Hit, Query


class UniformRetriever:
    """Takes blocks evenly over the span, or over all time; the question is not looked at.

    Those that halve the span come first, so that fewer of them lie about evenly too.
    """

    last_layer: int | None = -1

    def __init__(self, config: RetrievalConfig) -> None:
        self._config = config
        self.index = SignatureIndex([])

    def parts(self, signature: Tensor) -> list[Tensor]:
        """Nothing: times are enough."""
        return []

    def rank(self, query: Query, span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """See `Retriever.rank`."""
        infos = self.index.evenly(self._config.recall_blocks, span, exclude)
        return [Hit(infos[i], 1 / len(infos)) for i in _halving(len(infos))]


def _halving(count: int) -> list[int]:
    """0 to count − 1 in the order of their bits read backwards: 0 4 2 6 1 5 3 7."""
    width = max(count - 1, 0).bit_length()
    return sorted(range(count), key=lambda i: f"{i:0{width}b}"[::-1])
