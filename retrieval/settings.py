"""`RetrievalConfig`: the `[retrieval]` table of a configuration file."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class RetrievalConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the blocks for a question are chosen.

    Attributes:
        retriever: `heads` ranks by the attention mass of the model's retrieval heads, `rekv` by mean keys
            (arXiv 2503.00540), `recent` takes the newest.
        recall_blocks: blocks brought back for a question, at most.
        span_blocks: blocks brought back for one that names a time, at most: the best, and others evenly over that
            time, so that "what happened between two and three?" is answered from all of it. 0 is as without a time.
        recall_tokens: tokens that they may have together.
        candidates: blocks that the index hands to the exact score.
        calibrate: look for the retrieval heads of a model that has no calibration, at its first start; else it is
            ranked by mean keys.
    """

    retriever: Literal["heads", "rekv", "recent"] = "heads"
    recall_blocks: Annotated[int, Meta(ge=0, le=1024)] = 12
    span_blocks: Annotated[int, Meta(ge=0, le=1024)] = 24
    recall_tokens: Annotated[int, Meta(ge=0)] = 16384
    candidates: Annotated[int, Meta(ge=1, le=4096)] = 48
    calibrate: bool = True
