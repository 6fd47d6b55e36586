"""The demo's sheet: one image with each answer above the frame that it came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..yard.moment import clock
from .answers import JudgedAnswer
from .table import say_age

_COLUMNS = 3
_TILE = (372, 392, 3)
_FITS = 0.92  # of a line's room; OpenCV measures text a little too narrow
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BLACK, _WHITE, _GREEN, _RED = (0, 0, 0), (255, 255, 255), (40, 130, 30), (40, 40, 200)
_Image = NDArray[np.uint8]


def draw_sheet(answers: Sequence[JudgedAnswer]) -> _Image:
    """The answers in rows of three, right ones in green."""
    tiles = [_draw_tile(answer) for answer in answers]
    tiles += [np.full(_TILE, 255, np.uint8)] * (-len(tiles) % _COLUMNS)
    rows = range(0, len(tiles), _COLUMNS)
    return np.vstack([np.hstack(tiles[first : first + _COLUMNS]) for first in rows])


def _draw_tile(answer: JudgedAnswer) -> _Image:
    """The question, the answer, and the picture of the best evidence, with its time and how long ago that was."""
    tile = np.full(_TILE, 255, np.uint8)
    best = next((i for i, picture in enumerate(answer.pictures) if picture), None)
    if best is not None:
        picture: Any = cv2.imread(str(answer.pictures[best]))
        tile[80:368, 4:388] = picture
        tile[344:368, 4:388] //= 3  # a dark strip, on which the caption can be read
        shown = answer.end.evidence[best]
        age = say_age((answer.asked_ns - shown.end_ns) / 1e9)
        _write(tile, f"{clock(shown.start_ns)}, {age}", (10, 361), 0.5, _WHITE)
    _write(tile, answer.question.text, (6, 28), 0.55, _BLACK)
    _write(tile, answer.end.text, (6, 62), 0.7, _GREEN if answer.correct else _RED, thickness=2)
    return tile


def _write(
    tile: _Image, text: str, at: tuple[int, int], size: float, colour: Sequence[int], thickness: int = 1
) -> None:
    """Writes a line, smaller where it would not fit."""
    (width, _), _ = cv2.getTextSize(text, _FONT, size, thickness)
    size *= min(1.0, _FITS * (_TILE[1] - at[0]) / width)
    cv2.putText(tile, text, at, _FONT, size, colour, thickness, cv2.LINE_AA)
