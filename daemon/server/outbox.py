"""`Outbox`: the replies that wait for clients, within one budget of bytes for all of them.

A client that does not read costs a bounded amount: libzmq holds a few messages for each client, and what comes after
them waits here. When too much waits, the client with the most is dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum

from .. import protocol
from ..errors import BadMessage
from ..log import get_logger
from ..protocol import ErrorReply, Reply

_CLIENTS_A_ROUND = 256
_UNMADE_BYTES = 1024  # a guess for a reply that is not made yet
_log = get_logger("outbox")


class SendResult(Enum):
    """What became of a reply."""

    SENT = "sent"
    LATER = "the client does not take it now"
    GONE = "there is no such client"


Send = Callable[[bytes, bytes], SendResult]
MakeReply = Callable[[], Reply]


class _ClientQueue:
    """What waits for one client: the reply to send next, and those behind it."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.replies: deque[bytes | MakeReply] = deque()
        self.bytes = 0


class Outbox:
    """Replies by client, in order.

    Args:
        send: sends a client some bytes, if it takes them now.
        on_gone: called with a client that is gone or was dropped. Nothing waits for it any more.
        client_bytes, all_bytes: how much may wait for one client, and for all.
    """

    def __init__(self, send: Send, on_gone: Callable[[bytes], None], client_bytes: int, all_bytes: int) -> None:
        self._send, self._on_gone = send, on_gone
        self._client_bytes, self._all_bytes = client_bytes, all_bytes
        self._waiting: dict[bytes, _ClientQueue] = {}  # the one that was tried longest ago is first
        self._bytes = 0

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    def put(self, client: bytes, reply: Reply | MakeReply) -> None:
        """Sends a reply, or lets it wait. A large one that can be made at any time is given as what makes it."""
        waiting = self._waiting.get(client)
        if waiting is None:
            data = _encode(reply)
            sent = self._send(client, data)
            if sent is SendResult.GONE:
                self._on_gone(client)
            if sent is not SendResult.LATER:
                return
            waiting = self._waiting[client] = _ClientQueue(data)
            self._count(waiting, len(data))
        else:
            later = reply if callable(reply) else _encode(reply)
            waiting.replies.append(later)
            self._count(waiting, _size_of(later))
        self._keep_within(client, waiting)

    def send_waiting(self) -> None:
        """Tries again the clients that took nothing before, some of them each time."""
        for client in list(self._waiting)[:_CLIENTS_A_ROUND]:
            waiting = self._waiting.pop(client)
            if self._send_all(client, waiting):
                self._waiting[client] = waiting

    def drop(self, client: bytes) -> None:
        """Throws away what waits for a client."""
        waiting = self._waiting.pop(client, None)
        if waiting is not None:
            self._bytes -= waiting.bytes

    def _send_all(self, client: bytes, waiting: _ClientQueue) -> bool:
        """Sends what a client takes. Returns whether something still waits."""
        while waiting.head or waiting.replies:
            if not waiting.head:
                reply = waiting.replies.popleft()
                waiting.head = _encode(reply)
                self._count(waiting, len(waiting.head) - _size_of(reply))
            sent = self._send(client, waiting.head)
            if sent is SendResult.LATER:
                return True
            if sent is SendResult.GONE:
                self._bytes -= waiting.bytes
                self._on_gone(client)
                return False
            self._count(waiting, -len(waiting.head))
            waiting.head = b""
        self._bytes -= waiting.bytes
        return False

    def _count(self, waiting: _ClientQueue, more: int) -> None:
        waiting.bytes += more
        self._bytes += more

    def _keep_within(self, client: bytes, waiting: _ClientQueue) -> None:
        if waiting.bytes > self._client_bytes:
            self._give_up(client)
        while self._bytes > self._all_bytes and self._waiting:
            self._give_up(max(self._waiting, key=lambda each: self._waiting[each].bytes))

    def _give_up(self, client: bytes) -> None:
        _log.warning("client reads nothing, giving it up", waiting_bytes=self._waiting[client].bytes)
        self.drop(client)
        self._on_gone(client)


def _size_of(reply: bytes | MakeReply) -> int:
    return len(reply) if isinstance(reply, bytes) else _UNMADE_BYTES


def _encode(reply: Reply | bytes | MakeReply) -> bytes:
    if isinstance(reply, bytes):
        return reply
    if callable(reply):
        reply = reply()
    try:
        return protocol.encode(reply)
    except BadMessage as exc:
        return protocol.encode(ErrorReply(request_id=reply.request_id, code=exc.code, message=str(exc)))
