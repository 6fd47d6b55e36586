"""`device_memory`: if the device or the machine runs out of memory, one piece of work fails and the rest goes on."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import DeviceFull

# torch has an error class for CUDA only. The CPU's allocator, cuBLAS and MPS say it in a RuntimeError's words.
_SAYS_SO = re.compile(r"out of memory|can't allocate memory|cannot allocate memory|_ALLOC_FAILED", re.IGNORECASE)


@contextmanager
def device_memory(what: str, way_out: str) -> Iterator[None]:
    """Work that may ask for more memory than there is.

    Frees what the failed work held, and the device's cache, before the error is raised.

    Args:
        what: the work, as the message names it: "the answer".
        way_out: what would need less memory.

    Raises:
        DeviceFull: there was no room.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as exc:
        if not is_out_of_memory(exc):
            raise
        traceback.clear_frames(exc.__traceback__)  # their tensors fill the device
        _empty_cache()
        reason = str(exc).split("\n", 1)[0].rstrip(".") or "no memory"
        raise DeviceFull(f"no room on the device for {what} ({reason}); {way_out}") from None


def is_out_of_memory(exc: BaseException) -> bool:
    """Whether an error means that an allocation failed."""
    if isinstance(exc, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(exc, RuntimeError) and _SAYS_SO.search(str(exc)) is not None


def _empty_cache() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
