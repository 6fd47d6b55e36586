"""`ExternalRetriever`: an image-text model's own idea of what a question shows."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ..index.index import SignatureIndex
from ..signature import SignaturePart
from ..time.span import Span
from .retriever import Hit, Query, Retriever, Setup, take_best


class ExternalRetriever(Retriever):
    """Ranks by the cosine of the question's words and a block's picture; a block without one is never found."""

    def __init__(self, index: SignatureIndex, setup: Setup) -> None:
        super().__init__(index, setup)
        assert setup.embed is not None, "retriever external needs an image-text model"
        assert setup.layout.embedding is not None, "an image-text model has a space"
        (self._part,), self._embed, self._space = self.parts(setup), setup.embed, setup.layout.embedding

    @staticmethod
    def parts(setup: Setup) -> list[SignaturePart]:
        """The picture's vector."""
        return [setup.layout.picture_part(setup.geometry)]

    def rank(self, query: Query, span: Span | None, exclude: Collection[int]) -> list[Hit]:
        """See `Retriever.rank`."""
        wide = self._config.recall_blocks + len(exclude)
        found = self.index.search(self._part, self._space.asked(self._embed(query.text)), wide, span)
        # A vector of another model, or none at all, is no hit: its score does not say what a cosine says.
        strange = [[self._space.cosine(score) is None for score in scores] for scores in found.scores.tolist()]
        return take_best(self.index, found._replace(block_ids=np.where(strange, -1, found.block_ids)), exclude)
