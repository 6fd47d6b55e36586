"""`EmbeddingSpace`: the vectors of one image-text model, marked as its own.

A vector carries 32 numbers beside the model's: the bits of a mark, which the question's vector carries too. So what
another model made, or nothing at all, falls below every true score, wherever it comes from: a store or index file of
long ago, or a time with no video.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

_BITS, _STORED, _ASKED = 32, 0.25, 8.0
_AGREED = _BITS * _STORED * _ASKED  # a bit that differs costs 4, a cosine never more than 2


@dataclass(frozen=True)
class EmbeddingSpace:
    """Where pictures and words lie near each other that mean the same.

    Attributes:
        dim: numbers of a vector, as the model makes it.
        fingerprint: of the model.
    """

    dim: int
    fingerprint: str

    @property
    def width(self) -> int:
        """Numbers of a vector with its mark."""
        return self.dim + _BITS

    def marked(self, vectors: Tensor) -> Tensor:
        """Pictures' vectors `[n, dim]` → `[n, width]`, of length 1 without the mark."""
        return torch.cat([normalize(vectors.float().cpu(), dim=-1), self._mark.expand(len(vectors), -1) * _STORED], -1)

    def asked(self, vector: Tensor) -> Tensor:
        """A question's vector `[dim]` → `[1, width]`, whose inner product with a marked one is its score."""
        return torch.cat([normalize(vector.float().cpu(), dim=-1), self._mark * _ASKED])[None]

    def cosine(self, score: float) -> float | None:
        """What a score says; None where the vector is not of this model."""
        cosine = score - _AGREED
        return cosine if cosine > -1.5 else None

    def rows(self, vectors: Tensor | None, count: int, dim: int) -> Tensor:
        """`count` blocks' marked vectors as rows of a signature, `[count, r, dim]`; zeros where there are none."""
        marked = torch.zeros(count, self.width) if vectors is None else self.marked(vectors)
        return pad(marked, (0, -self.width % dim)).view(count, -1, dim)

    @cached_property
    def _mark(self) -> Tensor:
        """`[32]` of 1 and −1."""
        digest = hashlib.sha256(f"{self.dim} {self.fingerprint}".encode()).digest()
        return torch.tensor([1.0 if digest[i // 8] >> i % 8 & 1 else -1.0 for i in range(_BITS)])
