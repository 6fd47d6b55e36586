"""`reach`: the address of this user's own daemon, for the daemon and for its clients."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Literal, get_args

from .errors import ConfigError

OWN = "own"
_LAST_PORT = 65_535
_SOCKET_PATH_BYTES = 107  # of Linux's sun_path, without its end
Name = Literal["requests", "events"]


def check_port(address: str) -> None:
    """Checks that a `tcp://` address has a possible port; ZeroMQ would take 99999 for 34463.

    Raises:
        ConfigError: it has not.
    """
    port = address.rpartition(":")[2]
    if address.startswith("tcp://") and port != "*" and not (port.isdecimal() and int(port[:6]) <= _LAST_PORT):
        raise ConfigError(f"{address}: {port} is not a port; write tcp://HOST:PORT with a port from 1 to {_LAST_PORT}")


def reach(address: str, name: Name, *, make: bool = False) -> str:
    """The address that is meant. `own` means a socket in a folder that only this user can enter.

    Args:
        make: make that folder, as the daemon does.

    Raises:
        ConfigError: the folder is another user's, or others can enter it, or the port is not possible.
    """
    check_port(address)
    if address != OWN:
        return address
    folders = _folders()
    folder = folders[0]
    if make:
        _make(folder)
    else:  # a daemon that runs without XDG_RUNTIME_DIR, say as a service, uses the second
        folder = next((each for each in folders if (each / name).exists()), folder)
    _check(folder)
    return f"ipc://{folder / name}"


def _folders() -> list[Path]:
    """Where the sockets may be, best first."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    own = [Path(runtime) / "longwatch"] if runtime.startswith("/") and _may_hold(Path(runtime)) else []
    return [*own, Path(f"/tmp/longwatch-{os.getuid()}")]


def _may_hold(runtime: Path) -> bool:
    """Whether this user owns the folder (after `su` another does), and its path is short enough for a socket."""
    try:
        found = runtime.stat()
    except OSError:
        return False
    longest = len(os.fsencode(runtime / "longwatch")) + 1 + max(map(len, get_args(Name)))
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and longest <= _SOCKET_PATH_BYTES


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"{folder}, the folder of the daemon's sockets, cannot be made: {exc.strerror}") from exc


def _check(folder: Path) -> None:
    try:
        found = folder.lstat()
    except OSError:
        return  # no daemon has been here
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ConfigError(f"{folder}, the folder of the daemon's sockets, belongs to another user; remove it")
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{folder}, the folder of the daemon's sockets, is open to others; run chmod 700 {folder}")
