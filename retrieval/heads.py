"""`RetrievalHeads`: the few heads that look far back, and the attention mass that they give a block.

A handful of heads find things and the rest drown them (Retrieval Head, arXiv 2404.15574; QRHead, arXiv 2506.09944).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .errors import CalibrationError

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

    def save(self, file: Path, fingerprint: str, recall: dict[str, float]) -> None:
        """Writes the calibration of a model, with the recall that it was measured to have."""
        content = {"fingerprint": fingerprint, "heads": self.heads, "group": self.group, "recall": recall}
        file.write_text(json.dumps(content, indent=2) + "\n")

    @classmethod
    def load(cls, file: Path, fingerprint: str) -> RetrievalHeads:
        """Reads the calibration of a model.

        Raises:
            CalibrationError: it is unreadable, or was measured on another model.
        """
        try:
            content = json.loads(file.read_text())
            heads = tuple((int(layer), int(head)) for layer, head in content["heads"])
            group, made_for = int(content["group"]), content["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise CalibrationError(f"{file} is no calibration: {exc}") from exc
        if made_for != fingerprint:
            raise CalibrationError(f"{file} was measured on model {made_for[:16]}, not on {fingerprint[:16]}")
        return cls(heads, group)


def attention_mass(queries: Tensor, keys: Sequence[Tensor]) -> Tensor:
    """The share of attention that each block gets.

    Softmax over all blocks' tokens together, without rotary, summed per block, averaged over the question's tokens
    and the heads.

    Args:
        queries: `[R, Tq, D]` float32.
        keys: a block's `[R, T, D]` float32 each.

    Returns:
        `[blocks]`, summing to 1.
    """
    scores = queries @ torch.cat(list(keys), 1).transpose(1, 2) * queries.shape[-1] ** -0.5
    by_token = scores.softmax(-1).mean((0, 1))
    sizes = torch.tensor([block.shape[1] for block in keys], device=by_token.device)
    owner = torch.arange(len(keys), device=by_token.device).repeat_interleave(sizes)
    return torch.zeros(len(keys), device=by_token.device).index_add_(0, owner, by_token)


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
