"""`Server`: the thread that alone owns the sockets.

Requests come in on a ROUTER, from each client in turn, and go to the `RequestHandler`. Replies come back from any
thread through a queue. No client's connections, requests, answers or unread replies can shut out the others.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

import zmq

from .. import protocol
from ..errors import BadMessage
from ..keyring import KeyRing
from ..protocol import Reply
from ..reach import reach
from ..settings import ServerConfig, check_addresses
from ..supervised import SupervisedThread
from .doors import Doors
from .event_log import EventLog
from .guard import Guard, descriptor_of
from .outbox import MakeReply, Outbox, SendResult
from .request_handler import RequestHandler
from .service import Service

_MESSAGES_UNDER_WAY = 4  # of a client, in ZeroMQ's hands; what comes after them waits here and is counted in bytes
_MESSAGES_A_ROUND = 100
_REST_SECONDS = 0.02
_TICK_MS = 20
_LAST_SECONDS = 1.0  # for replies while stopping
_IDLE_MS = 1000
_LOOK_SECONDS = 1.0  # at keys and open files


class _Outgoing(NamedTuple):
    """A reply on its way to the server's thread."""

    client: bytes
    reply: Reply | MakeReply
    of_answer: bool  # belongs to an answer under way, and is worth nothing once that is given up


class Server:
    """Binds at once; serves on a thread of its own after `start`.

    Raises:
        ConfigError: an address is taken or cannot be bound, or is open to the network without keys.
    """

    def __init__(self, config: ServerConfig, service: Service) -> None:
        self._config = config
        check_addresses(config)
        keys = KeyRing(Path(config.keys_folder)) if config.keys_folder else None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._listeners = self._context.socket(zmq.XPUB)  # as PUB, but we see who listens
        self._guard = Guard(self._context, keys)
        self._doors = Doors(self._guard.forget)
        self._events = EventLog()
        self._handler = RequestHandler(service, self._events, config.answers_at_once, self._reply)
        self._queue: deque[_Outgoing] = deque()
        self._outbox = Outbox(self._send, self._handler.cancel_all, config.client_queue_bytes, config.all_queues_bytes)
        self._looked_at = 0.0
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
        return self._doors.address

    @property
    def alive(self) -> bool:
        """Whether the thread serves."""
        return self._thread.alive

    def start(self) -> None:
        """Starts to serve, or starts again if the thread has died."""
        self._thread.start()

    def publish(self, stream: str, kind: str, start_ns: int, end_ns: int, text: str) -> None:
        """Numbers and sends an event. From any thread."""
        self._events.add(stream, kind, start_ns, end_ns, text)
        self._wake()

    def stop(self) -> None:
        """Ends the thread and closes the sockets. Replies under way get a moment."""
        self._stopping = True
        self._wake()
        self._thread.join(5)
        self._close()

    def _bind(self) -> None:
        self._router.setsockopt(zmq.SNDHWM, _MESSAGES_UNDER_WAY)
        self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._listeners.setsockopt(zmq.XPUB_MANUAL, 1)
        for key, bound, address in (
            ("server.address", self._router, reach(self._config.address, "requests", make=True)),
            ("server.events_address", self._listeners, reach(self._config.events_address, "events", make=True)),
        ):
            bound.setsockopt(zmq.LINGER, 500)
            # A message above the first limit gets an error as its reply; one above this ends its connection.
            bound.setsockopt(zmq.MAXMSGSIZE, 2 * protocol.MAX_REQUEST_BYTES)
            self._guard.protect(bound)
            self._doors.open(bound, address, key)

    def _serve(self) -> None:
        poller = zmq.Poller()
        wake = self._wake_read.fileno()
        for each in (wake, self._router, self._listeners, *self._doors.monitors, *self._guard.sockets):
            poller.register(each, zmq.POLLIN)
        while not self._stopping:
            ready = dict(poller.poll(_TICK_MS if self._outbox else _IDLE_MS))
            if wake in ready:
                self._wake_read.recv(4096)
            self._doors.look()
            self._guard.answer_libzmq()
            self._look()
            if self._listeners in ready:
                self._receive_listeners()
            if self._router in ready:
                self._receive_fairly()
            self._send_queue()
            self._outbox.send_waiting()
            self._send_events()
        self._send_the_last()

    def _send_the_last(self) -> None:
        """Sends what is still to be said. It may wait behind what a client has not read yet, so it gets a moment."""
        until = time.monotonic() + _LAST_SECONDS
        self._send_queue()
        self._outbox.send_waiting()
        while self._outbox and time.monotonic() < until:
            time.sleep(_TICK_MS / 1000)
            self._outbox.send_waiting()

    def _look(self) -> None:
        """Sees, once a second, which files are open and whether a key was removed."""
        if time.monotonic() - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = time.monotonic()
            self._doors.count_files()
            for descriptor, client in self._guard.take_removed():
                self._dismiss(descriptor, client)

    def _dismiss(self, descriptor: int, client: bytes) -> None:
        """Ends the connection of a client whose key was removed. It gets nothing more."""
        self._doors.dismiss(descriptor)
        self._outbox.drop(client)
        self._handler.cancel_all(client)

    def _receive_fairly(self) -> None:
        """Receives a round. If more has come than that, rests as long, so that the engine has half of the time."""
        began = time.monotonic()
        if self._receive() == _MESSAGES_A_ROUND:
            time.sleep(min(time.monotonic() - began, _REST_SECONDS))

    def _receive(self) -> int:
        """Receives up to a round of messages; libzmq takes from each client in turn. Returns how many."""
        for count in range(_MESSAGES_A_ROUND):
            try:
                client, *frames = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return count
            self._take(client.bytes, frames)
        return _MESSAGES_A_ROUND

    def _take(self, client: bytes, frames: list[zmq.Frame]) -> None:
        if len(frames) != 1:
            self._handler.refuse(client, "", BadMessage(f"a request is one frame, not {len(frames)}"))
            return
        (frame,) = frames
        sender = self._guard.identify(frame, client)
        if sender is None:
            self._dismiss(descriptor_of(frame), client)
        else:
            self._handler.handle(client, frame.bytes, sender)

    def _receive_listeners(self) -> None:
        """Lets listeners hear events. They hear all; a subscription to some is not understood."""
        for _ in range(_MESSAGES_A_ROUND):
            try:
                frame = self._listeners.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            if frame.bytes != b"\x01":
                continue
            if self._guard.identify(frame, b"") is None:
                self._dismiss(descriptor_of(frame), b"")
            else:
                self._listeners.setsockopt(zmq.SUBSCRIBE, b"")

    def _reply(self, client: bytes, reply: Reply | MakeReply, of_answer: bool) -> None:
        """From any thread."""
        self._queue.append(_Outgoing(client, reply, of_answer))
        self._wake()

    def _send_queue(self) -> None:
        while self._queue:
            outgoing = self._queue.popleft()
            if self._handler.lets_out(*outgoing):
                self._outbox.put(outgoing.client, outgoing.reply)

    def _send(self, client: bytes, data: bytes) -> SendResult:
        try:
            self._router.send_multipart([client, data], zmq.NOBLOCK)
        except zmq.Again:
            return SendResult.LATER
        except zmq.ZMQError:  # EHOSTUNREACH
            return SendResult.GONE
        return SendResult.SENT

    def _send_events(self) -> None:
        for event in self._events.take_new():
            with contextlib.suppress(zmq.Again):  # a listener that lags asks for what it missed
                self._listeners.send(protocol.encode(event), zmq.NOBLOCK)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full of wakes already, or closed
            self._wake_write.send(b"\0")

    def _close(self) -> None:
        self._doors.close()
        self._router.close()
        self._listeners.close()
        self._guard.close()
        self._context.term()
        self._doors.give_back()
        self._wake_read.close()
        self._wake_write.close()
