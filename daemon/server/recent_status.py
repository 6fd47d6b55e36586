"""`RecentStatus`: how the daemon is, asked of it once for all who ask at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from ..protocol import StatusReply

_HOLDS_SECONDS = 0.05


class RecentStatus:
    """A status that holds for a moment, so that two thousand who ask cost hardly more than one.

    Args:
        status: makes one.
    """

    def __init__(self, status: Callable[[str], StatusReply]) -> None:
        self._status = status
        self._newest: StatusReply | None = None
        self._made_at = 0.0

    def __call__(self, request_id: str) -> StatusReply:
        """The status, for the one who asks."""
        if self._newest is None or time.monotonic() - self._made_at > _HOLDS_SECONDS:
            self._newest = self._status(request_id)
            self._made_at = time.monotonic()
        return msgspec.structs.replace(self._newest, request_id=request_id)

    def changed(self) -> None:
        """Something was just done at a client's wish: the next status shows it."""
        self._newest = None
