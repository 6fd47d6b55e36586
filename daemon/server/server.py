"""`Server`: the thread that alone owns the sockets.

Requests come in on a ROUTER, from each client in turn, and are handed to a `Service`; replies come back from any
thread through a queue. Nobody's connections, requests, answers or unread replies can shut out the others.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import socket
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import zmq

from .. import protocol
from ..errors import BadMessage, NotAllowed, QuestionRefused
from ..keyring import KeyRing
from ..log import get_logger
from ..protocol import (
    Ask,
    Cancel,
    Delta,
    Done,
    Event,
    EventsReply,
    EventsSince,
    Forget,
    Forgotten,
    Reply,
    StatusReply,
    StatusRequest,
    StreamsAdd,
    StreamsRemove,
)
from ..reach import reach
from ..refusal import refusal
from ..settings import ServerConfig, check_addresses
from ..supervised import SupervisedThread
from .door import Door
from .openfiles import OpenFiles
from .outbox import Outbox, Sent
from .peers import Peer, Peers
from .recent_status import RecentStatus
from .shares import Shares
from .zap import Zap, key_of

Emit = Callable[[Reply], None]
_EVENTS_KEPT = 10_000
_EVENTS_AT_ONCE = 1_000
_MESSAGES_UNDER_WAY = 4  # of a client, in ZeroMQ's hands; what comes after them waits here and is counted in bytes
_MESSAGES_A_ROUND = 100
_REST_SECONDS = 0.02
_TICK_MS = 20
_LAST_SECONDS = 1.0  # for replies on stopping
_IDLE_MS = 1000
_LOOK_SECONDS = 1.0  # at keys and open files
_FOR_MANAGERS = (StreamsAdd, StreamsRemove, Forget)
_log = get_logger("server")


class Service(Protocol):
    """What the server asks of the rest of the daemon. Called on the server's thread; each call returns at once."""

    def ask(self, request: Ask, key: tuple[bytes, str], emit: Emit) -> None:
        """Begins an answer; `emit` may be called from any thread.

        Raises:
            DaemonError: the question is refused.
        """

    def cancel(self, key: tuple[bytes, str]) -> None:
        """Stops an answer; of an unknown one, nothing."""

    def status(self, request_id: str) -> StatusReply:
        """How the daemon is."""

    def add_stream(self, request: StreamsAdd, emit: Emit) -> None:
        """Begins to watch; `emit` takes `Done` or what is wrong, from any thread.

        Raises:
            ConfigError: the source's configuration is wrong.
            Busy: too much is under way.
        """

    def remove_stream(self, request: StreamsRemove, emit: Emit) -> None:
        """Stops watching; `emit` and `Busy` as for `add_stream`."""

    def forget(self, request: Forget, emit: Emit) -> None:
        """Forgets a time; `emit` takes `Forgotten` once it is gone, or what is wrong. `Busy` as for `add_stream`."""


class _Outgoing(NamedTuple):
    """A reply on its way to the server's thread."""

    client: bytes
    reply: Reply | Callable[[], Reply]
    of_answer: bool  # belongs to an answer under way, and is worth nothing once that is given up


class Server:
    """Binds at once; serves on a thread of its own from `start` on.

    Raises:
        ConfigError: an address is taken or cannot be bound, or is open to the network without keys.
    """

    def __init__(self, config: ServerConfig, service: Service) -> None:
        self._config, self._service = config, service
        check_addresses(config)
        self._keys = KeyRing(Path(config.keys_folder)) if config.keys_folder else None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._events = self._context.socket(zmq.XPUB)  # as PUB, but we see who listens
        self._zap = None if self._keys is None else Zap(self._context, self._keys)
        self._files, self._doors, self._peers = OpenFiles(), list[Door](), Peers()
        self._looked_at = 0.0
        self._queue: deque[_Outgoing] = deque()
        self._outbox = Outbox(self._send, self._cancel_all, config.client_queue_bytes, config.all_queues_bytes)
        self._shares = Shares(config.answers_at_once)
        self._status = RecentStatus(lambda request_id: self._service.status(request_id))
        self._published: deque[Event] = deque()
        self._kept: deque[Event] = deque(maxlen=_EVENTS_KEPT)
        self._number = time.time_ns() // 1000  # above those of an earlier life of the daemon
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._stopping = False
        self._thread = SupervisedThread("server", self._serve)
        try:
            self._bind()
        except BaseException:
            self._close()
            raise

    @property
    def address(self) -> str:
        """Where requests are answered."""
        return self._doors[0].address

    @property
    def alive(self) -> bool:
        """Whether the thread serves."""
        return self._thread.alive

    def start(self) -> None:
        """Starts to serve, or starts again if the thread has died."""
        self._thread.start()

    def publish(self, stream: str, kind: str, start_ns: int, end_ns: int, text: str) -> None:
        """Numbers and sends an event; from any thread."""
        self._published.append(Event(number=0, stream=stream, kind=kind, start_ns=start_ns, end_ns=end_ns, text=text))
        self._wake()

    def stop(self) -> None:
        """Ends the thread and closes the sockets, giving replies under way a moment."""
        self._stopping = True
        self._wake()
        self._thread.join(5)
        self._close()

    def _bind(self) -> None:
        config, files = self._config, self._files
        self._router.setsockopt(zmq.SNDHWM, _MESSAGES_UNDER_WAY)
        self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._events.setsockopt(zmq.XPUB_MANUAL, 1)
        for key, bound, address in (
            ("server.address", self._router, reach(config.address, "requests", make=True)),
            ("server.events_address", self._events, reach(config.events_address, "events", make=True)),
        ):
            bound.setsockopt(zmq.LINGER, 500)
            bound.setsockopt(zmq.MAXMSGSIZE, 2 * protocol.MAX_REQUEST_BYTES)  # above it there is no reply, but an end
            if self._zap is not None:
                self._zap.guard(bound)
            self._doors.append(Door(bound, address, key, files.backlog, self._peers.forget))

    def _serve(self) -> None:
        poller = zmq.Poller()
        wake = self._wake_read.fileno()
        sockets = [self._router, self._events, *(door.monitor for door in self._doors)]
        for each in (wake, *sockets, *([] if self._zap is None else [self._zap.socket])):
            poller.register(each, zmq.POLLIN)
        while not self._stopping:
            ready = dict(poller.poll(_TICK_MS if self._outbox else _IDLE_MS))
            if wake in ready:
                self._wake_read.recv(4096)
            self._watch_doors()
            if self._zap is not None:
                self._zap.answer()
            self._look()
            if self._events in ready:
                self._receive_listeners()
            if self._router in ready:
                self._receive_fairly()
            self._send_queue()
            self._outbox.send_waiting()
            self._send_events()
        self._send_the_last()

    def _send_the_last(self) -> None:
        """What is said on stopping may wait behind what a client has not read yet: it gets a moment."""
        until = time.monotonic() + _LAST_SECONDS
        self._send_queue()
        self._outbox.send_waiting()
        while self._outbox and time.monotonic() < until:
            time.sleep(_TICK_MS / 1000)
            self._outbox.send_waiting()

    def _watch_doors(self) -> None:
        """Shuts the doors before connections take the files that the daemon itself needs."""
        for door in self._doors:
            door.look()
        connections, most = sum(door.connections for door in self._doors), self._files.connections_at_most
        for door in self._doors:
            if connections >= most:
                connections -= door.dismiss_silent(connections - most)
                if door.shut():
                    _log.warning("too many connections, letting nobody in", address=door.address, there=connections)
            elif connections < most - most // 10 and door.open():
                _log.info("letting clients in again", address=door.address, there=connections)

    def _look(self) -> None:
        """Once a second: which files are open, and whether a key was removed."""
        if time.monotonic() - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        self._files.look(sum(door.connections for door in self._doors))
        if self._keys is None:
            return
        self._keys.read_again()
        for key in self._keys.take_removed():
            for descriptor, peer in self._peers.of(key):
                self._dismiss(descriptor, peer.client)

    def _dismiss(self, descriptor: int, client: bytes) -> None:
        """Whose key was removed gets nothing more."""
        for door in self._doors:
            door.dismiss(descriptor)
        self._outbox.drop(client)
        self._cancel_all(client)

    def _receive_fairly(self) -> None:
        """Takes in what has come. While more comes than a round takes, the engine's thread has half of the time."""
        began = time.monotonic()
        if self._receive() == _MESSAGES_A_ROUND:
            time.sleep(min(time.monotonic() - began, _REST_SECONDS))

    def _receive(self) -> int:
        """Takes in up to a round of messages; libzmq takes from each client in turn. Returns how many."""
        for count in range(_MESSAGES_A_ROUND):
            try:
                client, *frames = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return count
            self._take(client.bytes, frames)
        return _MESSAGES_A_ROUND

    def _take(self, client: bytes, frames: list[zmq.Frame]) -> None:
        request_id = ""
        try:
            if len(frames) != 1:
                raise BadMessage(f"a request is one frame, not {len(frames)}")
            may_manage = self._keys is None or self._may_manage(self._keys, client, frames[0])
            if may_manage is None:
                return
            request = protocol.decode_request(frames[0].bytes)
            request_id = request.request_id
            if isinstance(request, _FOR_MANAGERS) and not may_manage:
                raise NotAllowed('this key may ask, but not manage; a line role = "manage" in its file lets it')
            self._handle(client, request, "" if self._keys is None else key_of(frames[0]))
        except Exception as exc:  # a request that finds a mistake of ours costs its sender an answer, no one else
            self._reply(client, refusal(request_id, exc, "the request"))

    def _may_manage(self, keys: KeyRing, client: bytes, frame: zmq.Frame) -> bool | None:
        """Whether the sender of a message may do all; None where its key was removed, and it gets no reply."""
        key, descriptor = key_of(frame), int(frame.get(zmq.SRCFD))
        role = keys.role(key)
        if role is None:
            self._dismiss(descriptor, client)
            return None
        self._peers.note(descriptor, Peer(key, client))
        return role == "manage"

    def _receive_listeners(self) -> None:
        """Lets listeners hear events. They hear all of them, and whoever wants less is not listened to."""
        for _ in range(_MESSAGES_A_ROUND):
            try:
                frame = self._events.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            if frame.bytes != b"\x01":
                continue
            if self._keys is not None:
                key, descriptor = key_of(frame), int(frame.get(zmq.SRCFD))
                if self._keys.role(key) is None:
                    self._dismiss(descriptor, b"")
                    continue
                self._peers.note(descriptor, Peer(key, b""))
            self._events.setsockopt(zmq.SUBSCRIBE, b"")

    def _handle(self, client: bytes, request: protocol.Request, key: str) -> None:
        emit = functools.partial(self._reply, client)
        match request:
            case Ask():
                self._ask(client, request, key)
            case Cancel():
                self._service.cancel((client, request.request_id))
            case StatusRequest():
                self._reply(client, functools.partial(self._made, self._status, request.request_id))
            case StreamsAdd():
                self._service.add_stream(request, emit)
            case StreamsRemove():
                self._service.remove_stream(request, emit)
            case Forget():
                self._service.forget(request, emit)
            case EventsSince():
                since = functools.partial(self._events_since, request.number)
                self._reply(client, functools.partial(self._made, since, request.request_id))

    def _ask(self, client: bytes, request: Ask, key: str) -> None:
        if not request.question.strip():
            raise QuestionRefused("the question is empty")
        if len(request.question) > protocol.MAX_QUESTION_CHARACTERS:
            raise QuestionRefused(
                f"the question has {len(request.question)} characters; at most {protocol.MAX_QUESTION_CHARACTERS}"
            )
        if request.since_ns is not None and request.until_ns is not None and request.until_ns < request.since_ns:
            raise QuestionRefused("the time span ends before it begins")
        self._shares.check(client, request.request_id, key)
        emit = functools.partial(self._reply, client, of_answer=True)
        self._service.ask(request, (client, request.request_id), emit)
        self._shares.add(client, request.request_id, key)  # before any reply leaves: this thread empties the queue

    def _made(self, make: Callable[[str], Reply], request_id: str) -> Reply:
        """A reply that is made when the client takes it."""
        try:
            return make(request_id)
        except Exception as exc:
            return refusal(request_id, exc, "the request")

    def _events_since(self, number: int, request_id: str) -> EventsReply:
        """The next events behind a number. Whoever wants more asks again."""
        known_from = self._kept[0].number if self._kept else self._number + 1
        first = max(0, number + 1 - known_from)  # numbers have no holes
        events = list(itertools.islice(self._kept, first, first + _EVENTS_AT_ONCE))
        return EventsReply(request_id=request_id, events=events, newest=self._number, lost=number + 1 < known_from)

    def _reply(self, client: bytes, reply: Reply | Callable[[], Reply], of_answer: bool = False) -> None:
        """From any thread."""
        self._queue.append(_Outgoing(client, reply, of_answer))
        self._wake()

    def _send_queue(self) -> None:
        while self._queue:
            client, reply, of_answer = self._queue.popleft()
            if of_answer and not callable(reply) and not self._still_wanted(client, reply):
                continue
            if isinstance(reply, Done | Forgotten):
                self._status.changed()
            self._outbox.put(client, reply)

    def _still_wanted(self, client: bytes, reply: Reply) -> bool:
        """Whether the answer that a reply belongs to has not been given up. Its last reply ends it."""
        wanted = self._shares.has(client, reply.request_id)
        if not isinstance(reply, Delta):
            self._shares.end(client, reply.request_id)
        return wanted

    def _send(self, client: bytes, data: bytes) -> Sent:
        try:
            self._router.send_multipart([client, data], zmq.NOBLOCK)
        except zmq.Again:
            return Sent.LATER
        except zmq.ZMQError:  # EHOSTUNREACH
            return Sent.GONE
        return Sent.YES

    def _cancel_all(self, client: bytes) -> None:
        """The client is gone: nothing it asked for is worked on any more."""
        for request_id in self._shares.end_all(client):
            self._service.cancel((client, request_id))

    def _send_events(self) -> None:
        while self._published:
            self._number += 1
            event = self._published.popleft()
            event = Event(
                number=self._number,
                stream=event.stream,
                kind=event.kind,
                start_ns=event.start_ns,
                end_ns=event.end_ns,
                text=event.text,
            )
            self._kept.append(event)
            with contextlib.suppress(zmq.Again):  # a subscriber that lags asks for what it missed
                self._events.send(protocol.encode(event), zmq.NOBLOCK)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full of wakes already, or closed
            self._wake_write.send(b"\0")

    def _close(self) -> None:
        for door in self._doors:
            door.close()
        self._router.close()
        self._events.close()
        if self._zap is not None:
            self._zap.close()
        self._context.term()
        for door in self._doors:
            door.give_back()
        self._wake_read.close()
        self._wake_write.close()
