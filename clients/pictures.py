"""Evidence pictures: saved to a folder, and drawn in a terminal that can show colours."""

from __future__ import annotations

import importlib.util
import os
import sys
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any

from ..daemon.protocol import AnswerEnd, Evidence
from .errors import BadFolder
from .times import clock

_COLUMNS = 64


def save(answer: AnswerEnd, folder: Path, zone: tzinfo = UTC) -> list[Path | None]:
    """Writes each evidence's picture as `STREAM-TIME-BLOCK.jpg`, the time as in a zone; None where it has none.

    Raises:
        BadFolder: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_save_one(answer.stream, evidence, folder, zone) for evidence in answer.evidence]
    except OSError as exc:
        raise BadFolder(f"{folder}: pictures cannot be saved: {exc.strerror}") from exc


def _save_one(stream: str, evidence: Evidence, folder: Path, zone: tzinfo) -> Path | None:
    if not evidence.picture:
        return None
    time = clock(evidence.start_ns, zone).replace(" ", "T").replace(":", "-")
    path = folder / f"{stream}-{time}-{evidence.block_id}.jpg"
    path.write_bytes(evidence.picture)
    return path


def terminal_can_show() -> bool:
    """Whether standard output is a terminal with 24-bit colours, and OpenCV is there, which the client alone lacks."""
    has_colours = sys.stdout.isatty() and os.environ.get("COLORTERM") in ("truecolor", "24bit")
    return has_colours and importlib.util.find_spec("cv2") is not None


def draw(picture: bytes) -> str:
    """A JPEG as coloured half blocks, two pixels a character; nothing where it cannot be read."""
    import cv2  # heavy, and only wanted here
    import numpy as np

    image: Any = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return ""
    rows = max(2, _COLUMNS * image.shape[0] // image.shape[1] // 2 * 2)
    small = cv2.resize(image, (_COLUMNS, rows), interpolation=cv2.INTER_AREA)[..., ::-1]
    lines = []
    for upper, lower in zip(small[0::2], small[1::2], strict=True):
        cells = (
            f"\x1b[38;2;{a[0]};{a[1]};{a[2]};48;2;{b[0]};{b[1]};{b[2]}m▀"
            for a, b in zip(upper.tolist(), lower.tolist(), strict=True)
        )
        lines.append("".join(cells) + "\x1b[0m")
    return "\n".join(lines)
