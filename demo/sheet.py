"""`Asked`: a question of the demo with its answer, and the picture that shows many of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..daemon.protocol import AnswerEnd
from ..yard.kinds import Question
from ..yard.moment import clock


class Asked(NamedTuple):
    """A question, what was answered, and how that compares with the truth."""

    question: Question
    end: AnswerEnd
    correct: bool
    proven: bool | None  # whether evidence covers a true moment; None where nothing could show it
    age_seconds: float | None
    pictures: list[Path | None]


def draw_sheet(answers: Sequence[Asked]) -> NDArray[np.uint8]:
    """A picture of each answer over its best evidence."""
    tiles = []
    for asked in answers:
        tile = np.full((372, 392, 3), 255, np.uint8)
        best = next((i for i, p in enumerate(asked.pictures) if p), None)
        if best is not None:
            picture: Any = cv2.imread(str(asked.pictures[best]))
            tile[80:368, 4:388] = picture
            e = asked.end.evidence[best]
            label = f"{clock(e.start_ns)}-{clock(e.end_ns)} used {e.use:.2f}"
            cv2.putText(tile, label, (10, 360), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        colour = (40, 130, 30) if asked.correct else (40, 40, 200)
        cv2.putText(tile, asked.question.text, (6, 28), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
        cv2.putText(tile, asked.end.text, (6, 62), cv2.FONT_HERSHEY_SIMPLEX, 0.7, colour, 2, cv2.LINE_AA)
        tiles.append(tile)
    while len(tiles) % 3:
        tiles.append(np.full_like(tiles[0], 255))
    return np.vstack([np.hstack(tiles[i : i + 3]) for i in range(0, len(tiles), 3)])
