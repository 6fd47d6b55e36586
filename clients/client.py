"""`Client`: asks a running daemon, from any Python program."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import zmq
import zmq.auth

from ..daemon import protocol
from ..daemon.errors import BadMessage
from ..daemon.protocol import (
    AnswerEnd,
    Ask,
    Cancel,
    Delta,
    ErrorReply,
    Event,
    EventsReply,
    EventsSince,
    Reply,
    Request,
    StatusReply,
    StatusRequest,
    StreamsAdd,
    StreamsRemove,
)
from .errors import ClientTimeout, DaemonUnreachable, Refused

_CONNECT_SECONDS = 3.0
_Reply = TypeVar("_Reply", bound=Reply)


class Client:
    """A connection to a daemon. Belongs to one thread; use one client a thread.

        with Client() as client:
            answer = client.ask("was the door open at 14:03?", stream="yard")
            print(answer.text, answer.evidence[0].start_ns)

    Args:
        address: the daemon's `server.address`.
        timeout_seconds: the longest silence that is waited for.
        keys_folder: folder with `client.key_secret` and `server.key`, where the daemon demands keys.
    """

    def __init__(
        self, address: str = protocol.DEFAULT_ADDRESS, *, timeout_seconds: float = 60.0, keys_folder: str = ""
    ) -> None:
        self.address, self.timeout_seconds = address, timeout_seconds
        self._keys = Path(keys_folder) if keys_folder else None
        self._context = zmq.Context()
        self._socket = self._connect(zmq.DEALER, address)
        self._heard = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Gives the connection up."""
        self._context.destroy(linger=200)

    def ask(self, question: str, **options: Any) -> AnswerEnd:
        """The whole answer; options as for `ask_stream`."""
        *_, end = self.ask_stream(question, **options)
        assert isinstance(end, AnswerEnd), f"an answer ended with {end!r}"
        return end

    def ask_stream(self, question: str, **options: Any) -> Iterator[str | AnswerEnd]:
        """The answer's text as it comes, and last the `AnswerEnd` with its evidence.

        Closing the iterator cancels the answer.

        Args:
            options: `stream`, `since_ns`, `until_ns`, `max_tokens`, `temperature`, `top_p`, `seed`, `pictures`.

        Raises:
            Refused: the daemon says no, and why.
            DaemonUnreachable, ClientTimeout: it says nothing.
        """
        request = Ask(request_id=uuid.uuid4().hex, question=question, **options)
        finished = False
        try:
            for reply in self._exchange(request):
                if isinstance(reply, Delta):
                    yield reply.text
                elif isinstance(reply, AnswerEnd):
                    finished = True
                    yield reply
                    return
        except Refused:
            finished = True
            raise
        finally:
            if not finished:
                self._socket.send(protocol.encode(Cancel(request_id=request.request_id)))

    def status(self) -> StatusReply:
        """How the daemon is."""
        return self._one(StatusRequest(request_id=uuid.uuid4().hex), StatusReply)

    def add_stream(self, name: str, **source: Any) -> None:
        """Watches one more stream, with the keys of a `[streams.NAME]` table."""
        self._one(StreamsAdd(request_id=uuid.uuid4().hex, name=name, source=source), protocol.Done)

    def remove_stream(self, name: str) -> None:
        """Stops watching a stream; its memory stays."""
        self._one(StreamsRemove(request_id=uuid.uuid4().hex, name=name), protocol.Done)

    def events_since(self, number: int) -> EventsReply:
        """The events after a number, as far as the daemon still knows them."""
        return self._one(EventsSince(request_id=uuid.uuid4().hex, number=number), EventsReply)

    def events(self, address: str = protocol.DEFAULT_EVENTS_ADDRESS) -> Iterator[Event]:
        """Events as they happen, none left out: a hole in their numbers is asked for."""
        socket = self._connect(zmq.SUB, address)
        socket.subscribe(b"")
        last = None
        while True:
            event = protocol.decode_event(socket.recv())
            if last is not None and event.number > last + 1:
                yield from (e for e in self.events_since(last).events if e.number < event.number)
            last = event.number
            yield event

    def _connect(self, kind: int, address: str) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        for option, value in (
            (zmq.LINGER, 200),
            (zmq.HEARTBEAT_IVL, 2000),
            (zmq.HEARTBEAT_TIMEOUT, 10000),
            (zmq.HEARTBEAT_TTL, 10000),
        ):
            socket.setsockopt(option, value)
        if kind == zmq.DEALER:
            socket.setsockopt(zmq.IMMEDIATE, 1)
        if self._keys is not None:
            try:
                socket.curve_publickey, secret = zmq.auth.load_certificate(self._keys / "client.key_secret")
                socket.curve_serverkey, _ = zmq.auth.load_certificate(self._keys / "server.key")
            except (OSError, ValueError) as exc:
                raise DaemonUnreachable(f"{self._keys} holds no client.key_secret and server.key: {exc}") from exc
            assert secret is not None, "a .key_secret file has a secret key"
            socket.curve_secretkey = secret
        socket.connect(address)
        return socket

    def _one(self, request: Request, wanted: type[_Reply]) -> _Reply:
        for reply in self._exchange(request):
            if isinstance(reply, wanted):
                return reply
        raise ClientTimeout("the daemon's answers ended")

    def _exchange(self, request: Request) -> Iterator[Reply]:
        """Sends a request and yields its replies, each within the timeout."""
        if not self._socket.poll(int(_CONNECT_SECONDS * 1000), zmq.POLLOUT):
            raise DaemonUnreachable(f"no daemon answers at {self.address}; start one with: longwatch serve CONFIG")
        self._socket.send(protocol.encode(request))
        deadline = time.monotonic() + self.timeout_seconds
        while True:
            if not self._socket.poll(max(0, int((deadline - time.monotonic()) * 1000))):
                raise ClientTimeout(f"the daemon at {self.address} said nothing for {self.timeout_seconds:g} s")
            try:
                reply = protocol.decode_reply(self._socket.recv())
            except BadMessage as exc:
                raise Refused(exc.code, str(exc)) from exc
            if reply.request_id not in ("", request.request_id):
                continue  # a late reply to something given up
            if isinstance(reply, ErrorReply):
                raise Refused(reply.code, reply.message)
            deadline = time.monotonic() + self.timeout_seconds
            yield reply
