"""Which device and dtype a configuration means on this machine."""

from __future__ import annotations

import torch

from ..errors import ModelError


def choose_device(name: str, dtype: str) -> tuple[torch.device, torch.dtype]:
    """The device and dtype for `model.device` and `model.dtype`, of which each may be `auto`.

    Raises:
        ModelError: this machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= there[device.type]:
        raise ModelError(f"model.device: {name} is not there; set it to auto or cpu")
    if dtype == "auto":
        dtype = "bfloat16" if is_fast_at_bfloat16(device) else "float32"
    return device, getattr(torch, dtype)


def is_fast_at_bfloat16(device: torch.device) -> bool:
    """Whether it multiplies bfloat16 itself. Where it would emulate it, float32 is faster."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(able.get("avx512_bf16") or able.get("amx_bf16"))
