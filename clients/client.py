"""`Client`: asks a running daemon, from any Python program."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar, Unpack

import zmq

from ..daemon import protocol
from ..daemon.errors import BadMessage, ConfigError
from ..daemon.protocol import (
    AnswerEnd,
    Ask,
    Cancel,
    Delta,
    Done,
    ErrorReply,
    Event,
    EventsReply,
    EventsSince,
    Forget,
    Forgotten,
    Reply,
    Request,
    StatusReply,
    StatusRequest,
    StreamsAdd,
    StreamsRemove,
)
from ..daemon.reach import Name, reach
from . import keys
from .connection import Connection
from .errors import BadAddress, ClientTimeout, DaemonUnreachable, Refused

_CONNECT_SECONDS = 3.0
_NO_EVENT_YET = 2**63 - 1
_Reply = TypeVar("_Reply", bound=Reply)


class AskOptions(TypedDict, total=False):
    """The options of a question; see `protocol.Ask` for defaults and bounds."""

    stream: str | None
    since_ns: int | None
    until_ns: int | None
    time: str
    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    pictures: bool
    explain: bool


class Client:
    """A connection to a daemon. Belongs to one thread; use one client a thread.

        with Client() as client:
            answer = client.ask("was the door open at 14:03?", stream="yard")
            print(answer.text, answer.evidence[0].start_ns)

    Args:
        address: the daemon's `server.address`; `own` is a socket that only the same user can reach.
        timeout_seconds: how long to wait for the next reply.
        keys_folder: folder with `client.key_secret` and `server.key`, if the daemon uses keys.

    Raises:
        BadAddress, BadKeys: the address is not valid, or the folder holds no keys.
    """

    def __init__(
        self, address: str = protocol.DEFAULT_ADDRESS, *, timeout_seconds: float = 60.0, keys_folder: str = ""
    ) -> None:
        self.address, self.timeout_seconds = _reach(address, "requests"), timeout_seconds
        self._keys = Path(keys_folder) if keys_folder else None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._socket = self._context.socket(zmq.DEALER)
            self._connection = Connection(self._socket)
            self._connect(self._socket, self.address)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._context.destroy(linger=200)

    def ask(self, question: str, **options: Unpack[AskOptions]) -> AnswerEnd:
        """The whole answer; options and errors as for `ask_stream`."""
        *_, end = self.ask_stream(question, **options)
        assert isinstance(end, AnswerEnd), f"an answer ended with {end!r}"
        return end

    def ask_stream(self, question: str, **options: Unpack[AskOptions]) -> Iterator[str | AnswerEnd]:
        """The answer's text piece by piece, and last the `AnswerEnd` with its evidence.

        Closing the iterator cancels the answer. So does an exception while waiting for the next piece.

        Raises:
            Refused: the daemon refuses the question, and says why.
            DaemonUnreachable, ClientTimeout: the daemon does not answer.
        """
        request = Ask(request_id=_new_id(), question=question, **options)
        finished = False
        try:
            for reply in self._exchange(request):
                if isinstance(reply, Delta):
                    yield reply.text
                elif isinstance(reply, AnswerEnd):
                    finished = True
                    yield reply
                    return
        except (Refused, DaemonUnreachable):
            finished = True
            raise
        finally:
            if not finished:
                with contextlib.suppress(zmq.Again):  # the daemon is gone, and the answer with it
                    self._socket.send(protocol.encode(Cancel(request_id=request.request_id)), zmq.NOBLOCK)

    def status(self) -> StatusReply:
        """The state of the daemon and its streams."""
        return self._request(StatusRequest(request_id=_new_id()), StatusReply)

    def add_stream(self, name: str, **source: Any) -> None:
        """Watches one more stream, with the keys of a `[streams.NAME]` table."""
        self._request(StreamsAdd(request_id=_new_id(), name=name, source=source), Done)

    def remove_stream(self, name: str) -> None:
        """Stops watching a stream; its memory stays."""
        self._request(StreamsRemove(request_id=_new_id(), name=name), Done)

    def forget(self, stream: str, since_ns: int | None, until_ns: int | None) -> int:
        """Makes the daemon forget what a stream saw in a time, to the last byte. Returns the number of blocks.

        A block that the time touches is forgotten as a whole. Returns when the files hold nothing of it any more.
        """
        request = Forget(request_id=_new_id(), stream=stream, since_ns=since_ns, until_ns=until_ns)
        return self._request(request, Forgotten).blocks

    def events_since(self, number: int) -> EventsReply:
        """The next events after a number that the daemon still knows, at most a thousand.

        If the last one's number is below `newest`, there are more.
        """
        return self._request(EventsSince(request_id=_new_id(), number=number), EventsReply)

    def events(
        self,
        address: str = protocol.DEFAULT_EVENTS_ADDRESS,
        *,
        after: int | None = None,
        quiet_seconds: float = 5.0,
    ) -> Iterator[Event]:
        """Events as they happen, for ever, from the first `next` on. If the socket drops some, they are asked for.

        Args:
            after: begin after the event of this number; by default with the next that happens.
            quiet_seconds: after so long without an event, ask the daemon whether one was missed.

        Raises:
            DaemonUnreachable, ClientTimeout: the daemon is gone.
        """
        with self._context.socket(zmq.SUB) as socket:
            self._connect(socket, _reach(address, "events"))
            socket.subscribe(b"")
            last = self.events_since(_NO_EVENT_YET).newest if after is None else after
            complete = after is None
            while True:
                heard = complete and socket.poll(int(quiet_seconds * 1000))
                event = protocol.decode_event(socket.recv()) if heard else None
                if event is not None and event.number <= last:
                    continue  # it came already, when missed events were asked for
                if event is not None and event.number == last + 1:
                    found, newest = [event], event.number
                else:
                    missed = self.events_since(last)
                    found, newest = missed.events, missed.newest
                for each in found:
                    last = each.number
                    yield each
                complete = last >= newest or not found

    def _connect(self, socket: zmq.Socket[bytes], address: str) -> None:
        for option, value in (
            (zmq.LINGER, 200),
            (zmq.IPV6, "[" in address),
            (zmq.MAXMSGSIZE, protocol.MAX_REPLY_BYTES),
        ):
            socket.setsockopt(option, value)
        protocol.notice_the_dead(socket)
        if self._keys is not None:
            keys.use(socket, self._keys)
        try:
            socket.connect(address)
        except zmq.ZMQError as exc:
            raise BadAddress(f"{address!r} is not a valid address; write tcp://HOST:PORT, ipc://FILE or own") from exc

    def _request(self, request: Request, wanted: type[_Reply]) -> _Reply:
        for reply in self._exchange(request):
            if isinstance(reply, wanted):
                return reply
        raise AssertionError("an exchange ends with an exception or a reply")

    def _exchange(self, request: Request) -> Iterator[Reply]:
        """Sends a request and yields its replies, each within the timeout."""
        try:
            data = protocol.encode(request)
        except BadMessage as exc:  # the daemon would not read it
            raise Refused(exc.code, str(exc)) from exc
        if not self._connection.wait(_CONNECT_SECONDS):
            key = "it may not let these keys in" if self._keys else "add --keys FOLDER"
            raise DaemonUnreachable(
                f"no daemon answers at {self.address}; start it with longwatch serve CONFIG; if it uses keys, {key}"
            )
        self._socket.send(data)
        deadline = time.monotonic() + self.timeout_seconds
        while True:
            if not self._socket.poll(max(0, int((deadline - time.monotonic()) * 1000))):
                raise ClientTimeout(f"the daemon at {self.address} said nothing for {self.timeout_seconds:g} s")
            try:
                reply = protocol.decode_reply(self._socket.recv())
            except BadMessage as exc:
                raise Refused(exc.code, str(exc)) from exc
            if reply.request_id not in ("", request.request_id):
                continue  # a late reply to a request that was given up
            if isinstance(reply, ErrorReply):
                raise Refused(reply.code, reply.message)
            deadline = time.monotonic() + self.timeout_seconds
            yield reply


def _reach(address: str, name: Name) -> str:
    try:
        return reach(address, name)
    except ConfigError as exc:
        raise BadAddress(str(exc)) from exc


def _new_id() -> str:
    return uuid.uuid4().hex
