"""`Connection`: a socket to a daemon, which knows whether one is at its other end."""

from __future__ import annotations

import time

import zmq

from ..daemon.connection_events import ConnectionEvents


class Connection:
    """Wraps a socket that is connected afterwards. Belongs to one thread.

    libzmq can send only where somebody is (`ZMQ_IMMEDIATE`), but then it throws away what came and was not yet read
    when the other end closes: the last words of a daemon that stops. So it tells us here who came and went instead.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._events = ConnectionEvents(socket, zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._is_there = False

    def wait(self, seconds: float) -> bool:
        """Waits so long for a daemon to be there. Returns whether one is."""
        until = time.monotonic() + seconds
        self._look()
        while not self._is_there and (left := until - time.monotonic()) > 0:
            self._events.socket.poll(int(left * 1000) + 1)
            self._look()
        return self._is_there

    def _look(self) -> None:
        for kind, _ in self._events.take():
            self._is_there = kind == zmq.EVENT_HANDSHAKE_SUCCEEDED
