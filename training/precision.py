"""The number format in which training multiplies."""

from __future__ import annotations

import torch

from longwatch.daemon.model.device import is_fast_at_bfloat16


def autocast() -> torch.autocast:
    """bfloat16 if the processor is fast at it. Otherwise it would be emulated, and float32 is faster."""
    return torch.autocast("cpu", torch.bfloat16, enabled=is_fast_at_bfloat16(torch.device("cpu")))
