"""`ConnectionEvents`: who comes to a socket and who goes, as libzmq reports it. For the daemon and for its clients."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

import zmq

_EVENT = struct.Struct("=Hi")


class ConnectionEvents:
    """Begins before the socket is bound or connected. Belongs to one thread.

    Args:
        kinds: the events that are wanted, of libzmq's `ZMQ_EVENT_*`.

    Attributes:
        socket: can be read when there is something to take.
    """

    def __init__(self, watched: zmq.Socket[bytes], kinds: int) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = watched.context
        name = f"inproc://events-{id(self)}"
        self._watched = watched
        watched.monitor(name, kinds)
        self.socket: zmq.Socket[bytes] = context.socket(zmq.PAIR)
        self.socket.setsockopt(zmq.RCVHWM, 0)  # with a limit, libzmq would wait for us with everybody's traffic
        self.socket.connect(name)

    def take(self) -> Iterator[tuple[int, int]]:
        """The events since the last call: of which kind, and the number that comes with it, mostly a descriptor."""
        while True:
            try:
                event, *_ = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            yield _EVENT.unpack(event)

    def close(self) -> None:
        """Ends the reports."""
        with contextlib.suppress(zmq.ZMQError):  # closed already
            self._watched.disable_monitor()
        self.socket.close(0)
