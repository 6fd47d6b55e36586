"""The attention that text models are run with here: its registration with transformers, and the `Layout` it serves.

Keys are kept without a position, so that a block can stand anywhere in a later context. The text model runs with every
position 0, which makes its own rotary embedding the identity. The function registered here hands each layer's queries,
keys and values to the forward's layout, which knows what each token may see and at which position, and rotates there.
Both registries are transformers' public ones. The layout travels as a keyword argument of the forward, so two models
never share state.

    FrameLayout        n frames at once, each behind its own window; collects their keys and values
    Context            a question or answer behind a laid-out context; rotated once, grows as tokens come
    LayerwiseContext   the same with a context of its own for each layer, chosen by that layer's queries
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

NAME = "longwatch"


class Layout(Protocol):
    """What the tokens of a forward see. One layout serves one forward of one model."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Attention of a layer, heads first: query `[B, Hq, T, D]`, key and value `[B, H, T, D]`, all unrotated.

        Returns:
            `[B, Hq, T, D]`.
        """


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    layout: Layout,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    out = layout.attend(int(module.layer_idx), query, key, value, scaling)  # type: ignore[arg-type]
    return out.transpose(1, 2), None


def _make_no_mask(*_: Any, **__: Any) -> None:
    return None  # the layout has its own


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _make_no_mask)
