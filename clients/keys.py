"""Key folders: who may reach a daemon over a network, and by which keys."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import zmq
import zmq.auth

from ..daemon.role import Role, read_role
from .errors import BadKeys


def make(folder: Path, clients: int, role: Role = "manage") -> list[Path]:
    """Makes what is missing: the daemon's keys, and `client-1`, `client-2`, … with those of each client.

    Keys that exist keep their role, so more clients can be let in later. A client whose file was removed from `clients`
    is not let in again. Only their owner can read secret keys.

    Args:
        role: of the new keys. `ask` may ask questions and hear of events; `manage` may also add and remove streams, and
            forget.

    Returns:
        the folders to hand to the clients.

    Raises:
        BadKeys: the folder cannot be written.
    """
    allowed = folder / "clients"
    handed_out = [folder / f"client-{number}" for number in range(1, clients + 1)]
    before = os.umask(0o077)
    try:
        for each in (allowed, *handed_out):
            each.mkdir(parents=True, exist_ok=True)
        if not (folder / "server.key_secret").exists():
            zmq.auth.create_certificates(folder, "server")
        for own in handed_out:
            if not (own / "client.key_secret").exists():
                zmq.auth.create_certificates(own, "client")
                (allowed / f"{own.name}.key").write_text(f'{(own / "client.key").read_text()}role = "{role}"\n')
            (own / "server.key").write_bytes((folder / "server.key").read_bytes())
    except OSError as exc:
        raise BadKeys(f"{folder}: keys cannot be written: {exc.strerror}") from exc
    finally:
        os.umask(before)
    return handed_out


def role_of(folder: Path, client: Path) -> str:
    """What a client of a key folder may do, in words."""
    try:
        content = (folder / "clients" / f"{client.name}.key").read_text()
    except OSError:
        return "is not let in"
    return "may ask" if read_role(content).role == "ask" else "may ask and manage"


def use(socket: zmq.Socket[bytes], folder: Path) -> None:
    """Gives a client's socket the keys of its folder.

    Raises:
        BadKeys: the folder lacks `client.key_secret` or `server.key`, or others can read the secret one.
    """
    _refuse_loose(folder / "client.key_secret")
    try:
        public, secret = zmq.auth.load_certificate(folder / "client.key_secret")
        server, _ = zmq.auth.load_certificate(folder / "server.key")
    except (OSError, ValueError) as exc:
        raise BadKeys(f"{folder}: holds no readable client.key_secret and server.key; see longwatch keys") from exc
    if secret is None:
        raise BadKeys(f"{folder}: client.key_secret holds no secret key")
    socket.curve_publickey, socket.curve_secretkey, socket.curve_serverkey = public, secret, server


def _refuse_loose(secret: Path) -> None:
    try:
        mode = secret.stat().st_mode
    except OSError:
        return  # reading it will fail, and say so
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise BadKeys(f"{secret} can be read by others; run chmod go-rwx {secret}")
