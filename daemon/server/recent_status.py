"""`RecentStatus`: the daemon's status, made once for all who ask at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from ..protocol import StatusReply

_HOLDS_SECONDS = 0.05


class RecentStatus:
    """Holds a status for a moment, so that two thousand who ask cost hardly more than one.

    Args:
        make: makes one, for a request id.
    """

    def __init__(self, make: Callable[[str], StatusReply]) -> None:
        self._make = make
        self._newest: StatusReply | None = None
        self._made_at = 0.0

    def __call__(self, request_id: str) -> StatusReply:
        """The status, for the one who asks."""
        if self._newest is None or time.monotonic() - self._made_at > _HOLDS_SECONDS:
            self._newest = self._make(request_id)
            self._made_at = time.monotonic()
        return msgspec.structs.replace(self._newest, request_id=request_id)

    def expire(self) -> None:
        """Something was just done for a client: the next status is made again and shows it."""
        self._newest = None
