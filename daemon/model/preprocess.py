"""`Preprocessor`: pictures to a checkpoint's pixels as its own processor makes them, but without torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import ModelError

_LARGEST_SIDE = 4096
_RESAMPLING = {2: "bilinear", 3: "bicubic"}


class Preprocessor:
    """A checkpoint's own preprocessing values, from its `preprocessor_config.json`.

    Args:
        key: the configuration key that names the checkpoint.

    Raises:
        ModelError: it asks for a size or a resampling that is not supported.
    """

    def __init__(self, values: dict[str, Any], key: str = "model.name") -> None:
        if missing := {"size", "image_mean", "image_std"} - set(values):
            raise ModelError(f"{key}: the checkpoint's preprocessor_config.json lacks {', '.join(sorted(missing))}")
        cropped = bool(values.get("do_center_crop", False))
        size = _read_sides(values["size"], square=not cropped)
        crop = _read_sides(values.get("crop_size"), square=True) if cropped else None
        fits = size and (crop and min(size) >= max(crop) if cropped else len(size) == 2)
        if size and not all(0 < side <= _LARGEST_SIDE for side in (*size, *(crop or ()))):
            raise ModelError(
                f"{key}: the checkpoint's preprocessor_config.json asks for size {values['size']}; the limit"
                f" is {_LARGEST_SIDE} pixels a side"
            )
        if not size or not fits or values.get("resample", 3) not in _RESAMPLING:
            raise ModelError(
                f"{key}: the checkpoint's preprocessor_config.json asks for size {values['size']} and resample"
                f" {values.get('resample')}; only a height and a width, or a shortest edge and a crop within it,"
                " bilinear (2) or bicubic (3), are supported"
            )
        self._size, self._crop = size, crop
        self._mode = _RESAMPLING[values.get("resample", 3)]
        mean = torch.tensor(values["image_mean"]).view(1, 3, 1, 1)
        std = torch.tensor(values["image_std"]).view(1, 3, 1, 1)
        rescale = float(values.get("rescale_factor", 1 / 255))
        self._scale, self._shift = rescale / std, mean / std

    def __call__(self, frames: Sequence[NDArray[np.uint8]]) -> Tensor:
        """BGR pictures `[H, W, 3]` of any size → `[N, 3, height, width]` float32."""
        resized = torch.cat([self._crop_middle(self._resize(frame)) for frame in frames])
        return resized * self._scale - self._shift

    def _resize(self, frame: NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(frame).permute(2, 0, 1)[None]
        height, width = pixels.shape[-2:]
        wanted = self._size if len(self._size) == 2 else _scale_shorter(self._size[0], height, width)
        if height < wanted[0] or width < wanted[1]:
            # torch enlarges bytes up to two levels off from Pillow. Pillow rounds after each axis, and so do we.
            for size in ((height, wanted[1]), wanted):
                pixels = interpolate(pixels.float(), size, mode=self._mode, antialias=True).round().clamp(0, 255)
        elif (height, width) != wanted:
            pixels = interpolate(pixels, wanted, mode=self._mode, antialias=True)
        return pixels[:, [2, 1, 0]].float()

    def _crop_middle(self, pixels: Tensor) -> Tensor:
        """The middle of `[1, 3, H, W]`, as large as the checkpoint wants it."""
        if self._crop is None:
            return pixels
        top, left = ((have - want) // 2 for have, want in zip(pixels.shape[-2:], self._crop, strict=True))
        return pixels[..., top : top + self._crop[0], left : left + self._crop[1]]


def _read_sides(size: object, *, square: bool) -> tuple[int, ...]:
    """Height and width, or the shorter side alone; empty if `size` is neither.

    Args:
        square: a single number means both sides, as in old files.
    """
    if isinstance(size, int):
        return (size, size) if square else (size,)
    if isinstance(size, dict) and {"height", "width"} <= set(size):
        return int(size["height"]), int(size["width"])
    if isinstance(size, dict) and "shortest_edge" in size and "longest_edge" not in size:
        return (int(size["shortest_edge"]),)
    return ()


def _scale_shorter(side: int, height: int, width: int) -> tuple[int, int]:
    """Height and width with a shorter side of `side`, in the same proportion, rounded down to whole pixels."""
    return (side, side * width // height) if height <= width else (side * height // width, side)
