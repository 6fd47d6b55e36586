"""The lock of a store's folder: one process has the store."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from .errors import StoreInUse, StoreUnwritable
from .folder import sync_folder

OLD_LOCK = "lock"  # where earlier versions had it
_LOCK = "store.lock"


def take_folder(folder: Path) -> int:
    """Locks a store's folder for this process. Returns the lock file's descriptor: closing it gives the folder back.

    Raises:
        StoreInUse: another process has it.
        StoreUnwritable: it cannot be made or written.
    """
    try:
        _make(folder)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        raise StoreUnwritable(f"memory.folder {folder} cannot be used: {exc.strerror}") from exc
    try:
        _hold(lock, folder)
        _end_old_lock(folder)
    except BaseException:
        os.close(lock)
        raise
    with contextlib.suppress(OSError):  # a full disk has no room for our name, but the folder is ours all the same
        os.truncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
    return lock


def _make(folder: Path) -> None:
    """Makes a folder with those that lead there, and their names durable: else a loss of power would take all of it."""
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in new or [folder]:  # one that is there may be new too: the process that made it may have been killed
        with contextlib.suppress(PermissionError):  # we may use it, and not list what lies beside it
            sync_folder(each.parent)


def _hold(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        raise StoreInUse(f"the store {folder} is in use by process {holder}") from exc


def _end_old_lock(folder: Path) -> None:
    """Takes over from an earlier version. It locked a file `lock`, where a stream of that name needs its folder."""
    old = folder / OLD_LOCK
    if not old.is_file():
        return
    try:
        handle = os.open(old, os.O_RDWR)
    except OSError as exc:
        raise StoreUnwritable(f"{old} cannot be used: {exc.strerror}") from exc
    try:
        _hold(handle, folder)
        old.unlink()
    finally:
        os.close(handle)
