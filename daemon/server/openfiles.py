"""`OpenFiles`: how many files and sockets this process may hold, and how many of them clients may have."""

from __future__ import annotations

import contextlib
import os
import resource

_SPARE = 48  # for what the daemon opens now and then: days, pictures, capture children
_MOST = 10_000


def raise_limit() -> None:
    """Lets this process open as many files as its user may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class OpenFiles:
    """Divides the files between connections of clients and all else.

    Attributes:
        backlog: how many connections may come in before the daemon sees that there are too many.
    """

    def __init__(self) -> None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._limit = _MOST * 2 if limit == resource.RLIM_INFINITY else limit
        self.backlog = max(16, min(1024, self._limit // 16))
        self._ours = 64
        self.look(0)

    def look(self, connections: int) -> None:
        """Counts what is open and is not a connection of a client."""
        with contextlib.suppress(OSError):  # no file left to look with, or no /proc: the last count stays
            self._ours = max(0, len(os.listdir("/proc/self/fd")) - connections)

    @property
    def connections_at_most(self) -> int:
        """How many clients are let in: a third of the files that are left.

        The rest stays free for those who come before the daemon has seen that it is full. If no file is left at all,
        libzmq 4.3.5 ends its whole process at the next `ipc://` client.
        """
        return max(8, min(_MOST, (self._limit - self._ours - _SPARE) // 3))
