"""Where a model's retrieval heads are kept: beside its weights, as `calibration.json`."""

from __future__ import annotations

from pathlib import Path

from ...retrieval.heads import RetrievalHeads
from .family import EMBEDDED

FILE = "calibration.json"


def load_heads(name: str, fingerprint: str) -> RetrievalHeads | None:
    """The calibrated heads of a model given as in `model.name`; None where it has no calibration.

    Raises:
        CalibrationError: there is one, but it is unreadable or was measured on other weights.
    """
    folder = EMBEDDED if name == "embedded" else Path(name)
    file = folder / FILE
    return RetrievalHeads.load(file, fingerprint) if file.is_file() else None
