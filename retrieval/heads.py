"""`RetrievalHeads`: the few heads that look far back, and what the attention that they give a block says of it.

A handful of heads find things and the rest drown them (Retrieval Head, arXiv 2404.15574; QRHead, arXiv 2506.09944).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LayerHead = tuple[int, int]


@dataclass(frozen=True)
class RetrievalHeads:
    """Query heads of a model, as (layer, head).

    Attributes:
        heads: best first.
        group: query heads that share a KV head.
    """

    heads: tuple[LayerHead, ...]
    group: int

    @property
    def kv_heads(self) -> tuple[LayerHead, ...]:
        """The (layer, KV head) whose keys each of the heads reads."""
        return tuple((layer, head // self.group) for layer, head in self.heads)

    @property
    def last_layer(self) -> int:
        """A question need not run further than this layer."""
        return max(layer for layer, _ in self.heads)

    def queries(self, by_layer: dict[int, Tensor]) -> Tensor:
        """`[R, T, D]` out of every layer's queries `[Hq, T, D]`."""
        return torch.stack([by_layer[layer][head] for layer, head in self.heads])


def attention_score(queries: Tensor, keys: Sequence[Tensor], beyond: Tensor | None = None) -> Tensor:
    """How much each block draws the heads' attention, `[blocks]`, 0 to 1: `score_by_head`, averaged over the heads.

    Args:
        queries: `[R, Tq, D]` float32.
        keys: a block's `[R, T, D]` float32 each.
        beyond: the logarithm of the summed exponentials of each token's scores with all other keys, `[R, Tq]`; None
            where there are no others.
    """
    owner = owners([block.shape[1] for block in keys], queries.device)
    return score_by_head(queries, torch.cat(list(keys), 1), owner, len(keys), beyond).mean(0)


def score_by_head(queries: Tensor, keys: Tensor, owner: Tensor, blocks: int, beyond: Tensor | None = None) -> Tensor:
    """How much each block draws each head's attention, `[Hq, blocks]`.

    Softmax over all keys, these and those `beyond`, without rotary, summed per block: the attention mass (QRHead). Of
    that the square root, averaged over the question's tokens. So a block that bears on all of a question's words comes
    before one that draws all of one word's attention: of the embedded model's proofs of two days, 0.94 stand among the
    first eight (0.90 by the mass itself), of SmolLM2's lines in a log of 1,000, first 0.88 (0.77).

    Args:
        queries: `[Hq, Tq, D]` float32.
        keys: of all blocks' tokens, `[H, N, D]` float32; as many query heads in a row share a KV head as there are
            more of them.
        owner: which block each of the N tokens belongs to.
        beyond: as for `attention_score`, `[Hq, Tq]`.
    """
    grouped = queries.reshape(keys.shape[0], -1, queries.shape[-1])  # [H, (Hq / H) · Tq, D]
    scores = (grouped @ keys.transpose(1, 2) * queries.shape[-1] ** -0.5).view(*queries.shape[:2], -1)
    total = scores.logsumexp(-1)
    if beyond is not None:
        total = torch.logaddexp(total, beyond)
    shares = (scores - total[..., None]).exp()
    mass = torch.zeros(*queries.shape[:2], blocks, device=keys.device).index_add_(2, owner, shares)
    return mass.sqrt().mean(1)


def owners(sizes: Sequence[int], device: torch.device) -> Tensor:
    """The number of the block that each token belongs to, of blocks with so many tokens."""
    return torch.arange(len(sizes), device=device).repeat_interleave(torch.tensor(sizes, device=device))


def outlying(keys: Tensor, count: int) -> Tensor:
    """A few of a block's keys that stand for all: half differ most from their mean, half are farthest from the chosen.

    The first half is what attention peaks on, the second sees to it that they are not all of one thing. Eight of a
    frame's 16 rank its blocks as all would: of the eight best by attention mass they name 1.00 (farthest points alone
    0.99, medoids 0.85), and in SmolLM2's text log, among 48, 0.89 (0.79).

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
