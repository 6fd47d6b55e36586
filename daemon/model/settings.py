"""`ModelConfig`: the `[model]` table of a configuration file."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model watches, and how much it sees at once.

    Attributes:
        name: `embedded`, a Hugging Face id, or a folder with a LLaVA-OneVision checkpoint.
        device: `auto`, `cpu`, `cuda`, `cuda:1`.
        dtype: `auto` takes bfloat16 where the device is fast at it, else float32.
        window_tokens: the newest tokens that a frame and a question always see.
        chunk_frames: frames prefilled at once, at most.
        chunk_tokens: question tokens prefilled at once, at most; others wait for no more of them than this.
        spread_tokens: recalled blocks that have fewer tokens together stand as far apart, evenly, as fills so many
            positions; 0 puts them side by side. A model tells their order by how far apart they stand, and the embedded
            one was trained on contexts of this length.
        threads: processor threads for the model; 0 leaves torch's choice.
    """

    name: str = "embedded"
    device: Annotated[
        str, Meta(pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$", description="auto, cpu, cuda, cuda:1 or mps")
    ] = "auto"
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    window_tokens: Annotated[int, Meta(ge=1)] = 100
    chunk_frames: Annotated[int, Meta(ge=1, le=256)] = 8
    chunk_tokens: Annotated[int, Meta(ge=1)] = 128
    spread_tokens: Annotated[int, Meta(ge=0)] = 672
    threads: Annotated[int, Meta(ge=0)] = 0
