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
        if missing := {"size", "image_mean", "image_std"} - set(values):
            raise ModelError(
                f"model.name: the checkpoint's preprocessor_config.json lacks {', '.join(sorted(missing))}"
            )
        size = values["size"]
        if not {"height", "width"} <= set(size) or values.get("resample", 3) not in _RESAMPLING:
            raise ModelError(
                f"model.name: the checkpoint's preprocessor_config.json asks for size {size} and resample"
                f" {values.get('resample')}; only a height and a width, bilinear (2) or bicubic (3), are supported"
            )
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
        height, width = pixels.shape[-2:]
        if height < self._size[0] or width < self._size[1]:
            # torch's resize of bytes strays two levels from Pillow's when it enlarges. Pillow rounds after each axis.
            for size in ((height, self._size[1]), self._size):
                pixels = interpolate(pixels.float(), size, mode=self._mode, antialias=True).round().clamp(0, 255)
        elif (height, width) != self._size:
            pixels = interpolate(pixels, self._size, mode=self._mode, antialias=True)
        return pixels[:, [2, 1, 0]].float()
