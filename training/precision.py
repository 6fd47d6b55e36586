"""In which numbers training multiplies."""

from __future__ import annotations

import torch

from longwatch.daemon.model.video_lm import fast_at_bfloat16


def autocast() -> torch.autocast:
    """bfloat16 where the processor is fast at it; elsewhere it would be emulated, and float32 is faster."""
    return torch.autocast("cpu", torch.bfloat16, enabled=fast_at_bfloat16(torch.device("cpu")))
