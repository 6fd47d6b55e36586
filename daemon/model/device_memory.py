"""`device_memory`: where the device, or the machine, has no room left, one error says so and the rest goes on."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import DeviceFull

# torch has a class of its own for CUDA only. A processor's allocator, cuBLAS and MPS say it in words.
_SAYS_SO = re.compile(r"out of memory|can't allocate memory|cannot allocate memory|_ALLOC_FAILED", re.IGNORECASE)


@contextmanager
def device_memory(what: str, way_out: str) -> Iterator[None]:
    """Work that may ask for more memory than there is.

    What the failed work held is let go of, and the device's cache given back, before the error goes on its way.

    Args:
        what: is not done, for the sentence: "the answer".
        way_out: what would need less.

    Raises:
        DeviceFull: there was no room.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as exc:
        if not is_out_of_memory(exc):
            raise
        traceback.clear_frames(exc.__traceback__)  # their tensors are what fills the device
        _give_back()
        reason = str(exc).split("\n", 1)[0].rstrip(".") or "no memory"
        raise DeviceFull(f"no room on the device for {what} ({reason}); {way_out}") from None


def is_out_of_memory(exc: BaseException) -> bool:
    """Whether an error means that an allocation failed."""
    if isinstance(exc, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(exc, RuntimeError) and _SAYS_SO.search(str(exc)) is not None


def _give_back() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
