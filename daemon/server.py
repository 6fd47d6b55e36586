"""`Server`: the thread that alone owns the sockets.

Requests come in on a ROUTER and are handed to a `Service`; replies come back from any thread through a queue. A
client that never reads is given up once too much waits for it, and harms no one else.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from . import protocol
from .config import check_addresses
from .errors import BadMessage, Busy, ConfigError, QuestionRefused
from .log import get_logger
from .protocol import (
    Ask,
    Cancel,
    Delta,
    ErrorReply,
    Event,
    EventsReply,
    EventsSince,
    Forget,
    Reply,
    StatusReply,
    StatusRequest,
    StreamsAdd,
    StreamsRemove,
)
from .refusal import refusal
from .settings import ServerConfig

Emit = Callable[[Reply], None]
_EVENTS_KEPT = 10_000
_MESSAGES_UNDER_WAY = 16  # of a client, in ZeroMQ's hands; what comes after them waits here and is counted in bytes
_TICK_MS = 50
_ZAP_DOMAIN = "longwatch"
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
    reply: Reply
    of_answer: bool  # belongs to an answer under way, and is worth nothing once that is given up


class _Waiting:
    """What waits for a client that does not take it now."""

    def __init__(self) -> None:
        self.frames: deque[bytes] = deque()
        self.bytes = 0


class Server:
    """Binds at once; serves on a thread of its own from `start` on.

    Raises:
        ConfigError: an address is taken or cannot be bound, or is open to the network without keys.
    """

    def __init__(self, config: ServerConfig, service: Service) -> None:
        self._config, self._service = config, service
        self._context = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._events = self._context.socket(zmq.PUB)
        self._authenticator: ThreadAuthenticator | None = None
        self._outbox: deque[_Outgoing] = deque()
        self._published: deque[Event] = deque()
        self._kept: deque[Event] = deque(maxlen=_EVENTS_KEPT)
        self._number = time.time_ns() // 1000  # above those of an earlier life of the daemon
        self._waiting: dict[bytes, _Waiting] = defaultdict(_Waiting)
        self._running: dict[bytes, set[str]] = defaultdict(set)
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="server", daemon=True)
        try:
            self._bind()
        except BaseException:
            self._close()
            raise

    @property
    def alive(self) -> bool:
        """Whether the thread serves."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begins to serve, or begins again where the thread has died."""
        if not self._thread.is_alive():
            if self._thread.ident is not None:
                self._thread = threading.Thread(target=self._serve, name="server", daemon=True)
            self._thread.start()

    def publish(self, stream: str, kind: str, start_ns: int, end_ns: int, text: str) -> None:
        """Numbers and sends an event; from any thread."""
        self._published.append(Event(number=0, stream=stream, kind=kind, start_ns=start_ns, end_ns=end_ns, text=text))
        self._wake()

    def stop(self) -> None:
        """Ends the thread and closes the sockets, giving replies under way a moment."""
        self._stopping = True
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)
        self._close()

    def _bind(self) -> None:
        config = self._config
        check_addresses(config)
        self._router.setsockopt(zmq.SNDHWM, _MESSAGES_UNDER_WAY)
        self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if config.keys_folder:
            self._require_keys(Path(config.keys_folder))
        for key, bound, address in (
            ("server.address", self._router, config.address),
            ("server.events_address", self._events, config.events_address),
        ):
            bound.setsockopt(zmq.LINGER, 500)
            bound.setsockopt(zmq.IPV6, "[" in address)
            protocol.notice_the_dead(bound)
            bound.setsockopt(zmq.MAXMSGSIZE, 2 * protocol.MAX_REQUEST_BYTES)  # above it there is no reply, but an end
            try:
                bound.bind(address)
            except zmq.ZMQError as exc:
                raise ConfigError(f"{key}: {address} cannot be bound: {zmq.strerror(exc.errno or 0)}") from exc

    def _require_keys(self, folder: Path) -> None:
        """Lets only clients in whose public key lies in `folder/clients`."""
        if not (folder / "clients").is_dir():
            raise ConfigError(f"server.keys_folder: {folder} has no folder clients; run longwatch keys {folder}")
        try:
            public, secret = zmq.auth.load_certificate(folder / "server.key_secret")
        except (OSError, ValueError) as exc:
            raise ConfigError(
                f"server.keys_folder: {folder} has no readable server.key_secret; run longwatch keys {folder}"
            ) from exc
        self._authenticator = ThreadAuthenticator(self._context)
        self._authenticator.start()
        self._authenticator.configure_curve(domain=_ZAP_DOMAIN, location=str(folder / "clients"))
        for guarded in (self._router, self._events):
            guarded.curve_secretkey, guarded.curve_publickey = secret, public
            guarded.curve_server = True
            guarded.setsockopt(zmq.ZAP_DOMAIN, _ZAP_DOMAIN.encode())
            guarded.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        wake = self._wake_read.fileno()
        poller.register(wake, zmq.POLLIN)
        while not self._stopping:
            ready = dict(poller.poll(_TICK_MS if self._waiting else 1000))
            if wake in ready:
                self._wake_read.recv(4096)
            if self._router in ready:
                self._receive()
            self._send_waiting()
            self._send_events()
        self._send_waiting()

    def _receive(self) -> None:
        for _ in range(100):
            try:
                client, *frames = self._router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            request_id = ""
            try:
                if len(frames) != 1:
                    raise BadMessage(f"a request is one frame, not {len(frames)}")
                request = protocol.decode_request(frames[0])
                request_id = request.request_id
                self._handle(client, request)
            except Exception as exc:  # a request that finds a mistake of ours costs its sender an answer, no one else
                self._queue(client, refusal(request_id, exc, "the request"))

    def _handle(self, client: bytes, request: protocol.Request) -> None:
        emit = functools.partial(self._queue, client)
        match request:
            case Ask():
                self._ask(client, request)
            case Cancel():
                self._service.cancel((client, request.request_id))
            case StatusRequest():
                emit(self._service.status(request.request_id))
            case StreamsAdd():
                self._service.add_stream(request, emit)
            case StreamsRemove():
                self._service.remove_stream(request, emit)
            case Forget():
                self._service.forget(request, emit)
            case EventsSince():
                emit(self._events_since(request))

    def _ask(self, client: bytes, request: Ask) -> None:
        if not request.question.strip():
            raise QuestionRefused("the question is empty")
        if len(request.question) > protocol.MAX_QUESTION_CHARACTERS:
            raise QuestionRefused(
                f"the question has {len(request.question)} characters; at most {protocol.MAX_QUESTION_CHARACTERS}"
            )
        if request.since_ns is not None and request.until_ns is not None and request.until_ns < request.since_ns:
            raise QuestionRefused("the time span ends before it begins")
        if sum(map(len, self._running.values())) >= self._config.answers_at_once:
            raise Busy(f"{self._config.answers_at_once} questions are being answered; ask again in a moment")
        if request.request_id in self._running.get(client, ()):
            raise QuestionRefused(f"request {request.request_id} is being answered already")
        emit = functools.partial(self._queue, client, of_answer=True)
        self._service.ask(request, (client, request.request_id), emit)
        self._running[client].add(request.request_id)  # before any reply leaves: this thread empties the outbox

    def _events_since(self, request: EventsSince) -> EventsReply:
        events = [event for event in self._kept if event.number > request.number]
        known_from = self._kept[0].number if self._kept else self._number + 1
        lost = request.number + 1 < known_from
        return EventsReply(request_id=request.request_id, events=events, newest=self._number, lost=lost)

    def _queue(self, client: bytes, reply: Reply, of_answer: bool = False) -> None:
        self._outbox.append(_Outgoing(client, reply, of_answer))
        self._wake()

    def _send_waiting(self) -> None:
        while self._outbox:
            client, reply, of_answer = self._outbox.popleft()
            if of_answer and not self._still_wanted(client, reply):
                continue
            data = _encode(reply)
            waiting = self._waiting[client]
            waiting.frames.append(data)
            waiting.bytes += len(data)
        for client, waiting in list(self._waiting.items()):
            try:
                while waiting.frames:
                    self._router.send_multipart([client, waiting.frames[0]], zmq.NOBLOCK)
                    waiting.bytes -= len(waiting.frames.popleft())
            except zmq.Again:
                if waiting.bytes <= self._config.client_queue_bytes:
                    continue
                _log.warning("client reads nothing, giving it up", waiting_bytes=waiting.bytes)
                self._give_up(client)
            except zmq.ZMQError:
                self._give_up(client)
            self._waiting.pop(client, None)

    def _still_wanted(self, client: bytes, reply: Reply) -> bool:
        """Whether the answer that a reply belongs to has not been given up. Its last reply ends it."""
        running = self._running.get(client, set())
        wanted = reply.request_id in running
        if not isinstance(reply, Delta):
            running.discard(reply.request_id)
        if not running:
            self._running.pop(client, None)
        return wanted

    def _give_up(self, client: bytes) -> None:
        """The client is gone: nothing it asked for is worked on any more."""
        for request_id in self._running.pop(client, set()):
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
        if self._authenticator is not None:
            self._authenticator.stop()
            self._authenticator = None
        self._router.close()
        self._events.close()
        self._context.term()
        self._wake_read.close()
        self._wake_write.close()


def _encode(reply: Reply) -> bytes:
    try:
        return protocol.encode(reply)
    except BadMessage as exc:
        return protocol.encode(ErrorReply(request_id=reply.request_id, code=exc.code, message=str(exc)))
