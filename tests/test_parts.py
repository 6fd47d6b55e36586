"""The retriever that the status names: the configured one, or the one in its place and why."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest

from longwatch.daemon.calibration.calibration import Calibration
from longwatch.daemon.config import DaemonConfig
from longwatch.daemon.parts import Parts

GOOD = Calibration(fingerprint="", heads=((1, 2),), group=1, recall={"recall@8": 0.9})
BAD = msgspec.structs.replace(GOOD, recall={"recall@8": 0.1})


@pytest.mark.parametrize(
    ("configured", "calibration", "has_embedding", "said"),
    [
        ("heads", GOOD, False, "heads"),
        ("heads", None, False, "rekv-shared (the model has no calibration)"),
        ("heads", BAD, False, "rekv-shared (no head of the model finds well enough)"),
        ("recent", None, False, "recent"),
        ("hybrid", GOOD, True, "hybrid (heads and external)"),
        ("hybrid", GOOD, False, "hybrid (heads and rekv-shared)"),
        ("hybrid", BAD, True, "hybrid (rekv-shared and external)"),
        ("hybrid", None, False, "rekv-shared (the model has no calibration)"),
    ],
)
def test_the_status_says_which_retriever_is_in_use_and_why(
    configured: str, calibration: Calibration | None, has_embedding: bool, said: str
) -> None:
    config = msgspec.convert({"retrieval": {"retriever": configured}}, DaemonConfig)
    model, tiers, embedding = cast(tuple[Any, Any, Any], (None, None, object() if has_embedding else None))
    assert Parts(config, model, tiers, calibration, embedding).retriever == said
