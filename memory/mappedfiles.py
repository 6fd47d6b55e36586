"""`MappedFiles`: how many days' files are mapped at once. Each takes a file descriptor and much address space."""

from __future__ import annotations

import threading
from collections import OrderedDict

from .datafile import DataFile


class MappedFiles:
    """Closes the files that were opened longest ago, where more than `most` are open. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._files: OrderedDict[DataFile, None] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, file: DataFile) -> None:
        """A file was opened. This runs while that file's lock is held, so it must not wait for another file's lock."""
        with self._lock:
            self._files[file] = None
            self._files.move_to_end(file)
            for old in list(self._files)[: max(0, len(self._files) - self._most)]:
                if old is not file and old.close_if_idle():
                    del self._files[old]
