"""`SignatureLayout`: the vectors by which a block is found, and in which rows they stand.

rows 0 … R·S     for each of R retrieval heads, S of the block's own keys
then L·H         the mean key of every layer and KV head (what ReKV ranks by)
then as many as it takes for the picture's marked vector, where an image-text model is configured
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..memory.block import Geometry
from .embedding import EmbeddingSpace
from .heads import RetrievalHeads, outlying


@dataclass(frozen=True)
class SignatureLayout:
    """How a model's signatures are made and read.

    Attributes:
        heads: the model's retrieval heads, or None where it has no calibration.
        sub_vectors: S, keys kept for each head.
        embedding: of the image-text model, or None where none is configured.
        text_tokens: the first tokens of every block, which say when it was and not what was seen: none is kept.
    """

    heads: RetrievalHeads | None
    sub_vectors: int = 8
    embedding: EmbeddingSpace | None = None
    text_tokens: int = 0

    def rows(self, geometry: Geometry) -> int:
        """How many vectors a signature of this layout has at least: those that are made of keys."""
        of_heads = 0 if self.heads is None else len(self.heads.heads) * self.sub_vectors
        return of_heads + geometry.layers * geometry.kv_heads

    def signatures(self, keys: Tensor, vectors: Tensor | None = None) -> Tensor:
        """Signatures `[n, R·S + L·H + …, D]` (float16, CPU) of n blocks' keys `[n, L, H, T, D]`.

        Args:
            vectors: of their pictures, `[n, E]`; None where they have none.
        """
        count, layers, kv_heads, tokens, dim = keys.shape
        parts = [keys.float().mean(3).view(count, layers * kv_heads, dim)]
        if self.heads is not None:
            of_heads = torch.stack([keys[:, layer, head] for layer, head in self.heads.kv_heads], 1).float()
            first = self.text_tokens if self.text_tokens < tokens else 0
            chosen = outlying(of_heads[:, :, first:].flatten(0, 1), self.sub_vectors)
            parts.insert(0, chosen.view(count, -1, dim))
        if self.embedding is not None:
            parts.append(self.embedding.rows(vectors, count, dim).to(keys.device))
        return torch.cat(parts, 1).half().cpu()

    def of_heads(self, signature: Tensor) -> Tensor:
        """`[R, S, D]` float32: each head's sub-vectors."""
        count = 0 if self.heads is None else len(self.heads.heads)
        return signature[: count * self.sub_vectors].float().view(count, self.sub_vectors, -1)

    def mean_keys(self, signature: Tensor, geometry: Geometry) -> Tensor:
        """`[L, H·D]` float32."""
        first = 0 if self.heads is None else len(self.heads.heads) * self.sub_vectors
        rows = signature[first : first + geometry.layers * geometry.kv_heads]
        return rows.float().reshape(geometry.layers, -1)

    def embedded(self, signature: Tensor, geometry: Geometry) -> Tensor:
        """The picture's marked vector `[width]`, float32; zeros where the signature was made without one."""
        assert self.embedding is not None, "only asked for where there is an image-text model"
        first = 0 if self.heads is None else len(self.heads.heads) * self.sub_vectors
        first += geometry.layers * geometry.kv_heads
        vector, width = signature[first:].float().flatten(), self.embedding.width
        fits = len(vector) == width + -width % signature.shape[1]
        return vector[:width] if fits else torch.zeros(width)
