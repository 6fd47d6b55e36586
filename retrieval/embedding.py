"""`EmbeddingSpace`: the vectors of one image-text model, marked as its own.

A vector carries 32 numbers beside the model's own: a mark, which the question's vector carries too. A vector with
another mark, or none, scores below every vector of this model. So an old store, an old index file or a time with no
video never gives a false hit.

    picture    | cosine part | mark · 0.25 |     inner product = cosine + 64, if the marks are the same;
    question   | cosine part | mark · 8    |     each bit that differs takes 4 off, and a cosine is at most 2 apart
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
    """The space in which pictures and words with the same meaning lie near each other.

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
        """The cosine in a score; None if the vector is not of this model."""
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
