"""`KeyRing`: whose CURVE keys are let in, and what each may do; read again as soon as the folder changes."""

from __future__ import annotations

import re
import stat
import time
from pathlib import Path
from typing import Literal, get_args

import zmq
import zmq.auth

from .errors import ConfigError
from .log import get_logger

Role = Literal["ask", "manage"]
_ROLE = re.compile(r'^\s*role\s*=\s*"(.*)"\s*$', re.MULTILINE)
_READ_AGAIN_SECONDS = 0.01
_Stamp = dict[str, tuple[int, int]]
_log = get_logger("keys")


class KeyRing:
    """The keys of a folder made by `longwatch keys`.

    Attributes:
        public, secret: the daemon's own.

    Raises:
        ConfigError: there are none, or others could read or change them.
    """

    def __init__(self, folder: Path) -> None:
        self._clients = folder / "clients"
        if not self._clients.is_dir():
            raise ConfigError(f"server.keys_folder: {folder} has no folder clients; run longwatch keys {folder}")
        _refuse_loose(folder / "server.key_secret", stat.S_IRWXG | stat.S_IRWXO, "read")
        _refuse_loose(self._clients, stat.S_IWGRP | stat.S_IWOTH, "changed")
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
        """What the owner of a public key may do; None of one that is not let in."""
        return self._roles.get(key)

    def lets_in(self, key: str) -> bool:
        """Whether a key is let in. Looks again before it says no, but not for each stranger who tries."""
        if key not in self._roles and time.monotonic() - self._read_at > _READ_AGAIN_SECONDS:
            self.read_again()
        return key in self._roles

    def read_again(self) -> None:
        """Reads the folder if it has changed. One that cannot be read now changes nothing."""
        self._read_at = time.monotonic()
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return
            roles = dict(_read(self._clients / name) for name in sorted(stamp))
        except OSError as exc:
            _log.error("the keys cannot be read again; those known stay", error=str(exc))
            return
        before, self._stamp = self._roles, stamp
        self._roles = {key: role for key, role in roles.items() if key}
        self._removed |= before.keys() - self._roles.keys()
        of_role = {role: list(self._roles.values()).count(role) for role in get_args(Role)}
        _log.info("keys read", removed=len(self._removed), **of_role)

    def take_removed(self) -> set[str]:
        """The keys that were removed since this was asked last, and are not let in now."""
        removed, self._removed = self._removed - self._roles.keys(), set()
        return removed

    def _look(self) -> _Stamp:
        found = {}
        for path in self._clients.glob("*.key"):
            status = path.stat()
            found[path.name] = (status.st_mtime_ns, status.st_size)
        return found


def _read(path: Path) -> tuple[str, Role]:
    """A client's public key, empty where the file holds none, and its role."""
    try:
        public, _ = zmq.auth.load_certificate(path)
    except ValueError:
        _log.error("this file holds no key", file=str(path))
        return "", "ask"
    found = _ROLE.search(path.read_text(errors="replace"))
    if found is None:
        _log.warning('a key without a role may manage; a line role = "ask" in it makes it less', file=str(path))
        return public.decode(), "manage"
    for role in get_args(Role):
        if found[1] == role:
            return public.decode(), role
    _log.error("this role is none; the key may ask", file=str(path), role=found[1])
    return public.decode(), "ask"


def _refuse_loose(path: Path, forbidden: int, done: str) -> None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # told of where it is read
    if mode & forbidden:
        raise ConfigError(f"server.keys_folder: {path} can be {done} by others; run chmod go-rwx {path}")


def _without_keys(folder: Path) -> ConfigError:
    return ConfigError(f"server.keys_folder: {folder} has no readable server.key_secret; run longwatch keys {folder}")
