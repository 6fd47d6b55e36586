"""Pictures to a checkpoint's pixels, without torchvision: resize, rescale and normalise as its processor does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import ModelError

_RESAMPLING = {2: "bilinear", 3: "bicubic"}


class Preprocessor:
    """A checkpoint's own preprocessing values, from its `preprocessor_config.json`.

    Raises:
        ModelError: it asks for a size or resampling that this cannot do.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        size = values.get("size", {})
        if not {"height", "width"} <= set(size) or values.get("resample", 3) not in _RESAMPLING:
            raise ModelError(f"preprocessor_config.json: size {size} with resample {values.get('resample')} is unknown")
        self._size = (int(size["height"]), int(size["width"]))
        self._mode = _RESAMPLING[values.get("resample", 3)]
        mean = torch.tensor(values["image_mean"]).view(1, 3, 1, 1)
        std = torch.tensor(values["image_std"]).view(1, 3, 1, 1)
        rescale = float(values.get("rescale_factor", 1 / 255))
        self._scale, self._shift = rescale / std, mean / std

    def __call__(self, frames: Sequence[NDArray[np.uint8]]) -> Tensor:
        """BGR pictures `[H, W, 3]` of any size → `[N, 3, height, width]` float32."""
        resized = torch.cat([self._resize(frame) for frame in frames])
        return resized * self._scale - self._shift

    def _resize(self, frame: NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(frame).permute(2, 0, 1)[None]
        if pixels.shape[-2:] != self._size:
            pixels = interpolate(pixels, self._size, mode=self._mode, antialias=True)
        return pixels[:, [2, 1, 0]].float()
