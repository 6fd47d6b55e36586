"""`KeyRing`: which CURVE keys are let in, and what each may do. Read again as soon as the folder changes."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path
from typing import get_args

import zmq
import zmq.auth

from .errors import ConfigError
from .log import get_logger
from .role import Role, read_role

_READ_AGAIN_SECONDS = 0.01
_OUR_OWN_LACK = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # not the fault of the file that is read
_MOST_BYTES = 1 << 16
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_Stamp = dict[str, tuple[int, ...]]
_log = get_logger("keys")


class KeyRing:
    """The keys of a folder made by `longwatch keys`.

    Attributes:
        public, secret: the daemon's own.

    Raises:
        ConfigError: there are no keys, or others could read or change them.
    """

    def __init__(self, folder: Path) -> None:
        check_keys_folder(folder)
        self._folder, self._clients = folder, folder / "clients"
        try:
            self.public, secret = zmq.auth.load_certificate(folder / "server.key_secret")
        except (OSError, ValueError) as exc:
            raise _without_keys(folder) from exc
        if secret is None:
            raise _without_keys(folder)
        self.secret = secret
        self._stamp: _Stamp = {}
        self._roles: dict[str, Role] = {}
        self._removed: set[str] = set()
        self.read_again()

    def role(self, key: str) -> Role | None:
        """What the owner of a public key may do; None if it is not let in."""
        return self._roles.get(key)

    def lets_in(self, key: str) -> bool:
        """Whether a key is let in. Reads the folder again before it says no, but not for each stranger who tries."""
        if key not in self._roles and time.monotonic() - self._read_at > _READ_AGAIN_SECONDS:
            self.read_again()
        return key in self._roles

    def read_again(self) -> None:
        """Reads the folder if it has changed.

        A file or folder that cannot be read, or that others can change, lets nobody in. Only if the daemon itself lacks
        files or memory, the known keys stay.
        """
        self._read_at = time.monotonic()
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return
            roles = dict(_read(self._clients / name) for name in sorted(stamp))
        except OSError as exc:
            _log.error("the keys cannot be read again; the known ones stay", error=str(exc))
            return
        before, self._stamp = self._roles, stamp
        self._roles = {key: role for key, role in roles.items() if key}
        self._removed |= before.keys() - self._roles.keys()
        of_role = {role: list(self._roles.values()).count(role) for role in get_args(Role)}
        _log.info("keys read", removed=len(self._removed), **of_role)

    def take_removed(self) -> set[str]:
        """The keys that were removed since the last call, and are not let in now."""
        removed, self._removed = self._removed - self._roles.keys(), set()
        return removed

    def _look(self) -> _Stamp:
        """How the files are now. If the folder is gone, or others can change it, no file counts.

        Raises:
            OSError: the daemon lacks files or memory.
        """
        found: _Stamp = {}
        try:
            check_keys_folder(self._folder, files=False)
            for name in os.listdir(self._clients):
                if name.endswith(".key"):
                    found[name] = _stamp(self._clients / name)
        except ConfigError as exc:
            _log.error("nobody is let in", why=str(exc))
            return {}
        except OSError as exc:
            if exc.errno in _OUR_OWN_LACK:
                raise
            _log.error("nobody is let in: the keys cannot be read", error=str(exc))
            return {}
        return found


def check_keys_folder(folder: Path, *, files: bool = True) -> None:
    """Checks that `longwatch keys` made a folder, and that only its owner can change it.

    Args:
        files: check each client's file too.

    Raises:
        ConfigError: one of both is not so.
    """
    clients = folder / "clients"
    if not clients.is_dir():
        raise ConfigError(f"server.keys_folder: {folder} has no folder clients; run longwatch keys {folder}")
    _refuse_loose(folder / "server.key_secret", stat.S_IRWXG | stat.S_IRWXO, "read")
    for path in (folder, clients, *(sorted(clients.glob("*.key")) if files else ())):
        _refuse_loose(path, _OTHERS_WRITE, "changed")


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when a file, or what it links to, changes. Empty if it cannot be looked at."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_mode


def _read(path: Path) -> tuple[str, Role]:
    """A client's public key, empty if the file lets nobody in, and its role.

    Raises:
        OSError: the daemon lacks files or memory.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            raise ValueError("it is not the file of a key")
        _refuse_loose(path, _OTHERS_WRITE, "changed")
        public, _ = zmq.auth.load_certificate(path)
        written = read_role(path.read_text(errors="replace"))
    except (OSError, ValueError, ConfigError) as exc:
        if isinstance(exc, OSError) and exc.errno in _OUR_OWN_LACK:
            raise
        _log.error("this file lets nobody in", file=str(path), why=str(exc))
        return "", "ask"
    if written.wrong:
        why = 'this role is not valid; the key may only ask, until it says role = "manage"'
        _log.error(why, file=str(path), line=written.wrong)
    elif not written.lines:
        _log.warning('a key without a role may manage; add the line role = "ask" if it should not', file=str(path))
    return public.decode(), written.role


def _refuse_loose(path: Path, forbidden: int, done: str) -> None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # whoever reads it reports this
    if mode & forbidden:
        raise ConfigError(f"server.keys_folder: {path} can be {done} by others; run chmod go-rwx {path}")


def _without_keys(folder: Path) -> ConfigError:
    return ConfigError(f"server.keys_folder: {folder} has no readable server.key_secret; run longwatch keys {folder}")
