"""`Guard`: who is let in, and what each may do."""

from __future__ import annotations

from typing import NamedTuple

import zmq

from ..keyring import KeyRing
from .peers import Peer, Peers
from .zap import Zap, key_of


class Sender(NamedTuple):
    """Who sent a message.

    Attributes:
        key: its public key; empty if the daemon has no keys.
        may_manage: it may do everything, and not only ask.
    """

    key: str
    may_manage: bool


class Guard:
    """Looks at each message's key. Belongs to the server's thread.

    Has to be there before a socket that it protects is bound.

    Args:
        keys: the keys that are let in; None if everybody may do everything.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: KeyRing | None) -> None:
        self._keys, self._peers = keys, Peers()
        self._zap = None if keys is None else Zap(context, keys)

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        """Those that `answer_libzmq` reads."""
        return [] if self._zap is None else [self._zap.socket]

    def protect(self, socket: zmq.Socket[bytes]) -> None:
        """Lets only known keys reach a socket."""
        if self._zap is not None:
            self._zap.guard(socket)

    def answer_libzmq(self) -> None:
        """Tells libzmq which of those who knock are let in."""
        if self._zap is not None:
            self._zap.answer()

    def identify(self, frame: zmq.Frame, client: bytes) -> Sender | None:
        """Who sent a message, or None if its key was removed.

        Args:
            client: the routing id for replies; empty if it gets none.
        """
        if self._keys is None:
            return Sender("", may_manage=True)
        key = key_of(frame)
        role = self._keys.role(key)
        if role is None:
            return None
        self._peers.note(descriptor_of(frame), Peer(key, client))
        return Sender(key, may_manage=role == "manage")

    def take_removed(self) -> list[tuple[int, bytes]]:
        """Reads the keys again. Returns file descriptor and client of each connection whose key was removed since."""
        if self._keys is None:
            return []
        self._keys.read_again()
        return [
            (descriptor, peer.client) for key in self._keys.take_removed() for descriptor, peer in self._peers.of(key)
        ]

    def forget(self, descriptor: int) -> None:
        """A connection has ended."""
        self._peers.forget(descriptor)

    def close(self) -> None:
        """Lets nobody in any more."""
        if self._zap is not None:
            self._zap.close()


def descriptor_of(frame: zmq.Frame) -> int:
    """The file descriptor of the connection by which a message came."""
    return int(frame.get(zmq.SRCFD))
