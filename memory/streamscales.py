"""`StreamScales`: each stream's scales, measured on its first blocks and found in its days after a restart."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from .block import Block
from .partition import Partition
from .scales import Measuring, Scales

SCALED_ON = 32  # blocks of a stream on which its scales are measured; they themselves are packed without


class StreamScales:
    """Thread-safe.

    Args:
        days: a stream's days on disk, oldest first.
    """

    def __init__(self, days: Callable[[str], Sequence[Partition]]) -> None:
        self._days = days
        self._known: dict[str, dict[bytes, Scales]] = {}  # of each stream by digest; new blocks take the last
        self._measuring: dict[str, Measuring] = {}  # streams that have none yet
        self._lock = threading.Lock()

    def find(self, stream: str, digest: bytes) -> Scales | None:
        """The scales that a block of the stream was packed against; None where they cannot be read."""
        with self._lock:
            return self._of(stream).get(digest)

    def for_new(self, stream: str, block: Block) -> Scales | None:
        """Those for a new block of the stream, on which they may be measured; None until that is done."""
        with self._lock:
            known = self._of(stream)
            if not known and not block.gap:
                self._measure(stream, block)
            return next(reversed(known.values()), None)

    def add_old(self, stream: str, scales: Scales) -> None:
        """Notes scales that a past day's blocks will be packed against. New blocks keep those that they have."""
        with self._lock:
            known = self._of(stream)
            if scales.digest not in known:
                self._known[stream] = {scales.digest: scales, **known}

    def _of(self, stream: str) -> dict[bytes, Scales]:
        if stream not in self._known:
            days = [partition.blocks.scales() for partition in self._days(stream)]
            self._known[stream] = {digest: scales for day in days for digest, scales in day.items()}
        return self._known[stream]

    def _measure(self, stream: str, block: Block) -> None:
        measuring = self._measuring.setdefault(stream, Measuring())
        if measuring.blocks < SCALED_ON:
            measuring.add(block)
            return
        scales = self._measuring.pop(stream).scales()
        self._of(stream)[scales.digest] = scales
