"""Pictures that carry their own number through a lossy codec, and clips of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

BITS, WIDTH, HEIGHT = 10, 320, 240


def paint(number: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """BGR `[height, width, 3]`: one bar a bit, white or black."""
    bits = [255 * (number >> bit & 1) for bit in range(BITS)]
    bars = np.repeat(np.array(bits, np.uint8), width // BITS)
    row = np.pad(bars, (0, width - bars.size))
    return np.repeat(np.repeat(row[None, :, None], 3, axis=2), height, axis=0)


def read(image: NDArray[np.uint8]) -> int:
    """The number that a picture carries."""
    width = image.shape[1] // BITS
    bars = [image[:, i * width : (i + 1) * width].mean() for i in range(BITS)]
    return sum(int(value > 127) << bit for bit, value in enumerate(bars))


def write_clip(path: Path, frames: int, fps: float, fourcc: str = "mp4v") -> Path:
    """A clip of pictures 0, 1, 2 …"""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), fps, (WIDTH, HEIGHT))
    for number in range(frames):
        writer.write(paint(number))
    writer.release()
    return path
