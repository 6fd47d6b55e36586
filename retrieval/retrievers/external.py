"""`ExternalRetriever`: an image-text model's own idea of what a question shows."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from torch import Tensor

from ...memory.block import Geometry
from ..index.index import SignatureIndex
from ..settings import RetrievalConfig
from ..signature import SignatureLayout
from ..time.span import Span
from .retriever import Hit, Query, best_hits


class ExternalRetriever:
    """Ranks by the cosine of the question's words and a block's picture; a block without one is never found.

    Args:
        embed: a text's vector `[E]`.

    Attributes:
        first_part: where in the index its vectors stand, should it stand in one with another retriever's.
    """

    last_layer: int | None = -1

    def __init__(
        self, config: RetrievalConfig, layout: SignatureLayout, geometry: Geometry, embed: Callable[[str], Tensor]
    ) -> None:
        assert layout.embedding is not None, "an image-text model is needed"
        self._config, self._layout, self._geometry, self._embed = config, layout, geometry, embed
        self._space = layout.embedding
        self.index = SignatureIndex([(1, self._space.width)])
        self.first_part = 0

    def parts(self, signature: Tensor) -> list[Tensor]:
        """The picture's vector."""
        return [self._layout.embedded(signature, self._geometry)[None]]

    def rank(self, query: Query, span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """See `Retriever.rank`."""
        wide = self._config.recall_blocks + len(exclude)
        found = self.index.search(self.first_part, self._space.asked(self._embed(query.text)), wide, span)
        strange = [[self._space.cosine(score) is None for score in scores] for scores in found.scores.tolist()]
        return best_hits(self.index, found._replace(block_ids=np.where(strange, -1, found.block_ids)), exclude)
