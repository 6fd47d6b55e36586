"""`OpenDays`: how many day files are mapped at once. Each takes a file descriptor and much address space."""

from __future__ import annotations

import threading
from collections import OrderedDict

from .partition import Partition


class OpenDays:
    """Closes the days that were opened longest ago, once there are more than so many. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._days: OrderedDict[Partition, None] = OrderedDict()
        self._lock = threading.Lock()

    def opened(self, day: Partition) -> None:
        """A day's files were opened. It is called while that day's lock is held, so it waits for no other's."""
        with self._lock:
            self._days[day] = None
            self._days.move_to_end(day)
            for old in list(self._days)[: max(0, len(self._days) - self._most)]:
                if old is not day and old.close_if_idle():
                    del self._days[old]
