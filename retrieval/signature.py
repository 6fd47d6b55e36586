"""`SignatureLayout`: the vectors by which a block is found, and the rows of its signature in which they stand.

Of a model with R retrieval heads (S keys kept for each), L layers, H KV heads and head dim D:

    row 0          head 1: S keys    ┐
                   …                 │ some of the block's own keys, for the attention of the retrieval heads
                   head R: S keys    ┘
    row R·S        layer 1: H keys   ┐
                   …                 │ the mean key of every layer and KV head, for ReKV's score
                   layer L: H keys   ┘
    row R·S + L·H  picture           the image-text model's vector in rows of D, its end filled up with zeros

All rows have D numbers, so a signature is one tensor in the store. The picture comes last: with an image-text model or
without, with this one or another, the rows before it stay where they are, and an older store can still be searched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..memory.block import Geometry
from .embedding import EmbeddingSpace
from .heads import RetrievalHeads


class SignaturePart(NamedTuple):
    """A piece of a signature that an index searches on its own.

    Attributes:
        vectors, dim: how many vectors a block has in it, and the numbers of each.
        first_row: where it begins; it may fill more rows than it has vectors, or fewer.
        last: it must end where the signature ends. A signature of another length has no such part.
    """

    vectors: int
    dim: int
    first_row: int = 0
    last: bool = False

    def cut(self, signature: Tensor) -> Tensor:
        """`[vectors, dim]` float32 out of a signature `[rows, D]`; zeros where it has no such part."""
        numbers = self.vectors * self.dim
        end = self.first_row + -(-numbers // signature.shape[1])
        if self.last and len(signature) != end:
            return torch.zeros(self.vectors, self.dim)
        return signature[self.first_row : end].float().flatten()[:numbers].view(self.vectors, self.dim)


@dataclass(frozen=True)
class SignatureLayout:
    """How a model's signatures are made and read.

    Attributes:
        heads: the model's retrieval heads, or None where it has no calibration.
        sub_vectors: S, keys kept for each head.
        embedding: of the image-text model, or None where none is configured.
        text_tokens: the first tokens of every block are its clock. They tell when it was and not what it shows, so
            none of their keys is kept.
    """

    heads: RetrievalHeads | None
    sub_vectors: int = 8
    embedding: EmbeddingSpace | None = None
    text_tokens: int = 0

    @property
    def _head_rows(self) -> int:
        return 0 if self.heads is None else len(self.heads.heads) * self.sub_vectors

    def rows(self, geometry: Geometry) -> int:
        """The rows that are made of keys. A signature has at least these."""
        return self._head_rows + geometry.layers * geometry.kv_heads

    def signatures(self, keys: Tensor, vectors: Tensor | None = None) -> Tensor:
        """Signatures `[n, rows, D]` (float16, CPU) of n blocks' keys `[n, L, H, T, D]`.

        Args:
            vectors: of their pictures, `[n, E]`; None where they have none.
        """
        count, layers, kv_heads, tokens, dim = keys.shape
        pieces = [keys.float().mean(3).view(count, layers * kv_heads, dim)]
        if self.heads is not None:
            of_heads = torch.stack([keys[:, layer, head] for layer, head in self.heads.kv_heads], 1).float()
            first = self.text_tokens if self.text_tokens < tokens else 0
            chosen = choose_outlying(of_heads[:, :, first:].flatten(0, 1), self.sub_vectors)
            pieces.insert(0, chosen.view(count, -1, dim))
        if self.embedding is not None:
            pieces.append(self.embedding.rows(vectors, count, dim).to(keys.device))
        return torch.cat(pieces, 1).half().cpu()

    def head_parts(self, geometry: Geometry) -> list[SignaturePart]:
        """For each retrieval head, its S keys."""
        starts = range(0, self._head_rows, self.sub_vectors)
        return [SignaturePart(self.sub_vectors, geometry.head_dim, row) for row in starts]

    def layer_parts(self, geometry: Geometry) -> list[SignaturePart]:
        """For each layer, the mean keys of its KV heads side by side as one vector."""
        starts = range(self._head_rows, self.rows(geometry), geometry.kv_heads)
        return [SignaturePart(1, geometry.kv_heads * geometry.head_dim, row) for row in starts]

    def mean_part(self, geometry: Geometry) -> SignaturePart:
        """The mean keys of all layers side by side as one vector."""
        return SignaturePart(1, geometry.layers * geometry.kv_heads * geometry.head_dim, self._head_rows)

    def picture_part(self, geometry: Geometry) -> SignaturePart:
        """The picture's marked vector."""
        assert self.embedding is not None, "only an image-text model makes vectors of pictures"
        return SignaturePart(1, self.embedding.width, self.rows(geometry), last=True)


def choose_outlying(keys: Tensor, count: int) -> Tensor:
    """A few of a block's keys that stand for all: the half that differ most from their mean, then the farthest.

    Attention peaks on the first half. The second half is chosen key by key, each the farthest from all that are chosen
    already, so that they do not all show the same thing. Eight of a frame's 16 rank its blocks as all 16 would: they
    name 1.00 of the eight best by attention mass (0.99 by farthest points alone, 0.85 by medoids). In SmolLM2's text
    log, 0.89 are among 48 (0.79).

    Args:
        keys: `[N, T, D]`, chosen from independently for each of N.
        count: how many; where a block has fewer tokens, some stand twice.

    Returns:
        `[N, count, D]`.
    """
    rows = torch.arange(len(keys), device=keys.device)[:, None]
    apart = (keys - keys.mean(1, keepdim=True)).square().sum(-1)
    chosen = keys[rows, apart.topk(min(count - count // 2, keys.shape[1])).indices]
    nearest = (keys[:, :, None] - chosen[:, None]).square().sum(-1).amin(-1)
    while chosen.shape[1] < count:
        pick = keys[rows, nearest.argmax(1, keepdim=True)]
        chosen = torch.cat([chosen, pick], 1)
        nearest = torch.minimum(nearest, (keys - pick).square().sum(-1))
    return chosen
