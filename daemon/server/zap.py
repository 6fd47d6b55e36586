"""`Zap`: tells libzmq which keys are let in (ZeroMQ's RFC 27). Each message then carries the key of its sender."""

from __future__ import annotations

import zmq
from zmq.utils import z85

from ..keyring import KeyRing

DOMAIN = b"longwatch"
_ENDPOINT = "inproc://zeromq.zap.01"


class Zap:
    """Answers libzmq's questions. Belongs to the server's thread, and lives as long as that.

    Has to be there before a socket that it guards is bound.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: KeyRing) -> None:
        self._keys = keys
        self.socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(_ENDPOINT)

    def guard(self, socket: zmq.Socket[bytes]) -> None:
        """Lets only known keys reach a socket."""
        socket.curve_secretkey, socket.curve_publickey = self._keys.secret, self._keys.public
        socket.curve_server = True
        socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def answer(self) -> None:
        """Answers everything that libzmq asks now."""
        while True:
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if len(frames) < 8:
                continue  # cannot be: only libzmq reaches this socket
            asker, _, version, request_id, domain, _, _, mechanism, *credentials = frames
            key = z85.encode(credentials[0]).decode() if credentials and len(credentials[0]) == 32 else ""
            known = domain == DOMAIN and mechanism == b"CURVE" and self._keys.lets_in(key)
            verdict = [b"200", b"OK", key.encode()] if known else [b"400", b"this key is not let in", b""]
            self.socket.send_multipart([asker, b"", version, request_id, *verdict, b""])

    def close(self) -> None:
        """Answers no more."""
        self.socket.close()


def key_of(frame: zmq.Frame) -> str:
    """The public key of a message's sender; empty if the daemon has no keys."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""
