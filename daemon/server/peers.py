"""`Peers`: the connections of each key, so that they can be ended when the key is removed."""

from __future__ import annotations

from typing import NamedTuple


class Peer(NamedTuple):
    """Who is at the other end of a connection.

    Attributes:
        client: its routing id; empty if it only hears events.
    """

    key: str
    client: bytes


class Peers:
    """Peers by the file descriptor of their connection, once they have sent anything."""

    def __init__(self) -> None:
        self._peers: dict[int, Peer] = {}

    def note(self, descriptor: int, peer: Peer) -> None:
        """Notes who is at the other end of a connection."""
        self._peers[descriptor] = peer

    def forget(self, descriptor: int) -> None:
        """Forgets a connection that has ended."""
        self._peers.pop(descriptor, None)

    def of(self, key: str) -> list[tuple[int, Peer]]:
        """The connections of a key."""
        return [(descriptor, peer) for descriptor, peer in self._peers.items() if peer.key == key]
