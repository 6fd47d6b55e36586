"""`Doors`: the server's addresses, shut together before connections take the files that the daemon itself needs."""

from __future__ import annotations

from collections.abc import Callable

import zmq

from ..log import get_logger
from .door import Door
from .openfiles import OpenFiles

_log = get_logger("server")


class Doors:
    """Belongs to the server's thread.

    Args:
        on_gone: called with the file descriptor of each connection that has ended.
    """

    def __init__(self, on_gone: Callable[[int], None]) -> None:
        self._doors: list[Door] = []
        self._files, self._on_gone = OpenFiles(), on_gone

    def open(self, socket: zmq.Socket[bytes], address: str, key: str) -> None:
        """Binds a socket.

        Args:
            key: what the address is called in the configuration.

        Raises:
            ConfigError: the address is taken or cannot be bound.
        """
        self._doors.append(Door(socket, address, key, self._files.backlog, self._on_gone))

    @property
    def address(self) -> str:
        """That of the first."""
        return self._doors[0].address

    @property
    def monitors(self) -> list[zmq.Socket[bytes]]:
        """Where libzmq reports who comes and goes; `look` reads them."""
        return [door.monitor for door in self._doors]

    @property
    def connections(self) -> int:
        """How many are in, by all doors together."""
        return sum(door.connections for door in self._doors)

    def look(self) -> None:
        """Sees who came and went. Shuts the doors if too many are in, and opens them again once some have left."""
        for door in self._doors:
            door.look()
        connections, most = self.connections, self._files.connections_at_most
        for door in self._doors:
            if connections >= most:
                connections -= door.dismiss_silent(connections - most)
                if door.shut():
                    _log.warning("too many connections, letting nobody in", address=door.address, there=connections)
            elif connections < most - most // 10 and door.open():
                _log.info("letting clients in again", address=door.address, there=connections)

    def count_files(self) -> None:
        """Counts the files that the daemon itself needs; the rest is for connections."""
        self._files.look(self.connections)

    def dismiss(self, descriptor: int) -> None:
        """Ends a connection."""
        for door in self._doors:
            door.dismiss(descriptor)

    def close(self) -> None:
        """Closes the sockets."""
        for door in self._doors:
            door.close()

    def give_back(self) -> None:
        """Lets another daemon take the addresses, after libzmq has closed its sockets."""
        for door in self._doors:
            door.give_back()
