"""`RetrievalConfig`: the `[retrieval]` table of a configuration file."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class RetrievalConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the blocks for a question are chosen.

    Attributes:
        retriever: `heads` ranks by the attention mass of the model's retrieval heads; `rekv` by mean keys, in every
            layer (arXiv 2503.00540), `rekv-shared` once for all layers; `external` by the image-text model named below;
            `hybrid` by `heads` and `external` together (without such a model, by `heads` and `rekv-shared`); `recent`
            takes the newest, `uniform` some evenly.
        embedding: a CLIP or SigLIP model, a Hugging Face id or a folder; every frame is embedded by it too. Frames seen
            without it, or with another one, are not found by it. Empty is none.
        recall_blocks: blocks brought back for a question, at most.
        span_blocks: blocks brought back for one that names a time, at most: the best, and others evenly over that
            time, so that "what happened between two and three?" is answered from all of it. 0 is as without a time.
        span_passes: where a question is about all of a time ("what happened …?") that holds more, it is asked of each
            of so many parts of the time, at most, and their answers are reduced to one.
        recall_tokens: tokens that they may have together.
        candidates: blocks that the index hands to the exact score.
        calibrate: look for the retrieval heads of a model that has no calibration, at its first start; else it is
            ranked by mean keys.
    """

    retriever: Literal["heads", "hybrid", "rekv", "rekv-shared", "external", "recent", "uniform"] = "heads"
    embedding: str = ""
    recall_blocks: Annotated[int, Meta(ge=0, le=1024)] = 12
    span_blocks: Annotated[int, Meta(ge=0, le=1024)] = 24
    span_passes: Annotated[int, Meta(ge=1, le=64)] = 8
    recall_tokens: Annotated[int, Meta(ge=0)] = 16384
    candidates: Annotated[int, Meta(ge=1, le=4096)] = 128
    calibrate: bool = True
