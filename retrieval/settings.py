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
        embedding: a CLIP or SigLIP model, a Hugging Face id or a folder; every frame is embedded by it too. It does
            not find frames that were watched without it or with another one. Empty is none.
        recall_blocks: blocks brought back for a question, at most.
        span_blocks: blocks brought back for a question that names a time, at most: half of them the best, half evenly
            over that time, so that "what happened between two and three?" is answered from all of it. 0: such a
            question is treated as any other.
        span_passes: if a question is about all of a time ("what happened …?") and that holds more blocks, the time is
            cut into at most so many parts, each is asked, and the answers are merged into one.
        recall_tokens: tokens that the recalled blocks may have together.
        candidates: blocks that the index names and the exact score then ranks.
        calibrate: at the first start of a model that has no calibration, look for its retrieval heads; else mean keys
            rank its blocks.
    """

    retriever: Literal["heads", "hybrid", "rekv", "rekv-shared", "external", "recent", "uniform"] = "heads"
    embedding: str = ""
    recall_blocks: Annotated[int, Meta(ge=0, le=1024)] = 12
    span_blocks: Annotated[int, Meta(ge=0, le=1024)] = 24
    span_passes: Annotated[int, Meta(ge=1, le=64)] = 8
    recall_tokens: Annotated[int, Meta(ge=0)] = 16384
    candidates: Annotated[int, Meta(ge=1, le=4096)] = 128
    calibrate: bool = True
