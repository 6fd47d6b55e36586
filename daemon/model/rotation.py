"""`Rotation`: a text model's own rotary embedding, applied at positions of our choice."""

from __future__ import annotations

import sys
from typing import Any

from torch import Tensor

from ..errors import ModelError


class Rotation:
    """Turns queries and keys that carry no position to the positions where they stand in a context.

    Raises:
        ModelError: the model's frequencies change with the length it sees, so a rotated key could not be kept.
    """

    def __init__(self, text: Any) -> None:
        self._embedding = text.rotary_emb
        kind = str(getattr(self._embedding, "rope_type", "default"))
        if "dynamic" in kind or kind == "longrope":
            raise ModelError(f"model.name: rotary scaling {kind} is not supported; default, linear, yarn, llama3 are")
        self._apply = sys.modules[type(text).__module__].apply_rotary_pos_emb
        # YaRN scales queries and keys too. The model has done so in its own pass at position 0, where the angle is 0
        # but the scale is not 1. We divide it out of our angles, or it would be applied twice.
        self._scaling = float(getattr(self._embedding, "attention_scaling", 1.0))

    def angles(self, positions: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines for `[B, T]` positions, in the dtype of `like`: two of `[B, T, D]`."""
        cos, sin = self._embedding(like, positions)
        return (cos, sin) if self._scaling == 1.0 else (cos / self._scaling, sin / self._scaling)

    def turn(self, x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
        """Rotates `[B, H, T, D]` to the angles' positions."""
        turned: Tensor = self._apply(x, x[:, :0], *angles)[0]
        return turned
