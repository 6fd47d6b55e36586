"""`MessagePipe`: one end of a socket that carries whole messages. Half a message keeps no reader waiting."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time

from ..errors import CaptureError

_HEAD = struct.Struct(">I")
_SEND_SECONDS = 5.0
LIVES = b""  # the message of a process that is still busy with what it was asked
NEXT, WHOLE = b"", b"whole"  # ask for the next frame; for a whole one, whatever it shows


class MessagePipe:
    """Sends and receives bytes, each message behind its length. One thread receives; any thread sends.

    Args:
        most_bytes: a longer message is refused before any memory is taken for it.
        patient: whether sending waits as long as it takes; otherwise it fails if the other end takes nothing in.
    """

    def __init__(self, end: socket.socket, most_bytes: int = 1 << 20, *, patient: bool = False) -> None:
        self._end, self._most_bytes = end, most_bytes
        end.settimeout(None if patient else _SEND_SECONDS)
        self._ready = select.poll()
        self._ready.register(end, select.POLLIN)
        self._sending = threading.Lock()
        self._part, self._filled, self._in_head = bytearray(_HEAD.size), 0, True

    def send(self, message: bytes) -> None:
        """Sends a whole message.

        Raises:
            OSError: the other end is gone, or takes nothing in.
        """
        with self._sending:
            # In one go: after a head alone, the other end might already close, and the rest would fail.
            self._end.sendall(_HEAD.pack(len(message)) + message)

    def receive(self, timeout_seconds: float | None = None) -> bytearray | None:
        """The next message, or None if it is not whole in time. What has come of it is kept for the next call.

        Raises:
            EOFError: the other end is closed.
            OSError: the socket is broken.
            CaptureError: the message is longer than is allowed.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            if not self._ready.poll(left):
                return None
            if (message := self._read_some()) is not None:
                return message
            if deadline is not None and time.monotonic() >= deadline:
                return None

    def close(self) -> None:
        """Closes this end."""
        self._end.close()

    def _read_some(self) -> bytearray | None:
        """Takes in what is there; returns the message that this completes."""
        got = self._end.recv_into(memoryview(self._part)[self._filled :])
        if not got:
            raise EOFError
        self._filled += got
        if self._filled < len(self._part):
            return None
        done, was_head = self._part, self._in_head
        if was_head and (size := _HEAD.unpack(done)[0]):
            if size > self._most_bytes:
                raise CaptureError(f"a message of {size} bytes; at most {self._most_bytes} are allowed")
            try:
                self._part, self._filled, self._in_head = bytearray(size), 0, False
            except MemoryError as exc:
                raise CaptureError(f"a message of {size} bytes, for which there is no memory") from exc
            return None
        self._part, self._filled, self._in_head = bytearray(_HEAD.size), 0, True
        return bytearray(LIVES) if was_head else done
