"""`Connection`: a socket to a daemon, which knows whether one is at its other end."""

from __future__ import annotations

import struct
import time

import zmq

_EVENTS = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED


class Connection:
    """Wraps a socket that is connected afterwards. Belongs to one thread.

    libzmq can send only where somebody is (`ZMQ_IMMEDIATE`), but then it throws away what came and was not yet read
    when the other end closes: the last words of a daemon that stops. So it tells us here who came and went instead.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = socket.context
        name = f"inproc://connection-{id(self)}"
        socket.monitor(name, _EVENTS)
        self._monitor: zmq.Socket[bytes] = context.socket(zmq.PAIR)
        self._monitor.connect(name)
        self._is_there = False

    def wait(self, seconds: float) -> bool:
        """Waits so long for a daemon to be there. Returns whether one is."""
        until = time.monotonic() + seconds
        self._look(0)
        while not self._is_there and time.monotonic() < until:
            self._look(until - time.monotonic())
        return self._is_there

    def _look(self, seconds: float) -> None:
        """Reads all that has happened, or waits for something to happen."""
        if not self._monitor.poll(int(max(0.0, seconds) * 1000)):
            return
        while self._monitor.poll(0):
            event, *_ = self._monitor.recv_multipart()
            self._is_there = struct.unpack("=Hi", event)[0] == zmq.EVENT_HANDSHAKE_SUCCEEDED
