"""`head_of`: a file told by its first bytes, whatever it is called; nothing that a path can mean keeps us waiting."""

from __future__ import annotations

import hashlib
import os
import stat
import threading

_HEAD_BYTES = 1 << 16
_SECONDS = 5.0  # a disk that sleeps wakes up in; a dead network disk never answers


def head_of(path: str) -> str | None:
    """A digest of a file's first bytes; None where the path is no plain file, or cannot be read now or soon."""
    found: list[str] = []

    def read() -> None:
        if (digest := _digest(path)) is not None:
            found.append(digest)

    # A thread of its own: an `open` that the kernel does not let go can be left, and never be ended.
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
