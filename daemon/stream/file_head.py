"""`digest_head`: recognises a file by its first bytes, whatever it is called. No path can keep us waiting for long."""

from __future__ import annotations

import hashlib
import os
import stat
import threading

_HEAD_BYTES = 1 << 16
_SECONDS = 5.0  # enough for a disk that has to wake up; a dead network disk never answers


def digest_head(path: str) -> str | None:
    """A digest of a file's first bytes; None if the path is no plain file, or cannot be read soon enough."""
    found: list[str] = []

    def read() -> None:
        if (digest := _digest(path)) is not None:
            found.append(digest)

    # A thread of its own, because `open` may hang in the kernel, where nothing can end it. Then we leave it there.
    reader = threading.Thread(target=read, name="file-head", daemon=True)
    reader.start()
    reader.join(_SECONDS)
    return found[0] if found else None


def _digest(path: str) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would wait for its writer
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            return hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
    except (OSError, ValueError):  # ValueError: a path that no file can have
        return None
