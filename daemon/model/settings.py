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
        dtype: `auto` means bfloat16 if the device is fast at it, otherwise float32.
        window_tokens: how many of the newest tokens each frame and question always sees.
        chunk_frames: most frames prefilled at once.
        chunk_tokens: most question tokens prefilled at once. Frames and other questions wait for one such chunk.
        spread_tokens: expert, leave as is. Recalled blocks with fewer tokens than this are spread out evenly over so
            many positions; 0 puts them side by side. A model tells the order of blocks by how far apart they are, and
            the embedded one was trained on contexts of this length.
        threads: CPU threads for the model; 0 lets torch choose.
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
