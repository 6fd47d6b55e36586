"""`Peers`: by which connection a key's owner is there, so that it can be ended when the key is removed."""

from __future__ import annotations

from typing import NamedTuple


class Peer(NamedTuple):
    """Who is at the other end of a connection.

    Attributes:
        client: its routing id; empty of one that only hears events.
    """

    key: str
    client: bytes


class Peers:
    """Peers by their connection's file descriptor, as far as they have said anything."""

    def __init__(self) -> None:
        self._peers: dict[int, Peer] = {}

    def note(self, descriptor: int, peer: Peer) -> None:
        """Somebody said something."""
        self._peers[descriptor] = peer

    def forget(self, descriptor: int) -> None:
        """A connection has ended."""
        self._peers.pop(descriptor, None)

    def of(self, key: str) -> list[tuple[int, Peer]]:
        """The connections of a key's owner."""
        return [(descriptor, peer) for descriptor, peer in self._peers.items() if peer.key == key]
