"""`Door`: an address that clients connect to. It can be shut to new clients without losing those who are in.

libzmq accepts whoever comes until the process has no files left, and `unbind` would throw everybody out. So the way to
the listening socket is closed in front of it. For TCP, a filter in the kernel drops what comes for the listener (a
client's own TCP tries again within seconds). For `ipc://`, the file of the socket is renamed.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import zmq

from ..connection_events import ConnectionEvents
from ..errors import ConfigError
from ..log import get_logger
from ..protocol import notice_the_dead

HANDSHAKE_MS = 5000  # a connection that says nothing for so long is ended
_SHUT_SUFFIX = ".shut"
_EVENTS = zmq.EVENT_LISTENING | zmq.EVENT_ACCEPTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27  # Linux, asm-generic/socket.h
_DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # one instruction: return 0 bytes
_DROP_PROGRAM = struct.pack("HP", 1, ctypes.addressof(_DROP_ALL))
_log = get_logger("door")


class Door:
    """Binds a socket, counts who comes and goes, and keeps others from taking an `ipc://` address. One thread's.

    Args:
        key: what the address is called in the configuration.
        backlog: connections that may wait to be accepted.
        on_gone: called with the file descriptor of each connection that has ended.

    Raises:
        ConfigError: the address is taken or cannot be bound.
    """

    def __init__(
        self, socket_: zmq.Socket[bytes], address: str, key: str, backlog: int, on_gone: Callable[[int], None]
    ) -> None:
        self.address, self._on_gone = address, on_gone
        self._inside: set[int] = set()  # file descriptors
        self._silent: dict[int, None] = {}  # those who have not said who they are, the oldest first
        self._socket = socket_
        self._file = _file_of(address)
        self._lock = None if self._file is None else _lock(self._file, address, key)
        self._listener: socket.socket | None = None
        self._shut = self._logged = False
        self._events = ConnectionEvents(socket_, _EVENTS)
        socket_.setsockopt(zmq.IPV6, "[" in address)
        socket_.setsockopt(zmq.BACKLOG, backlog)
        socket_.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        notice_the_dead(socket_)
        try:
            socket_.bind(address)
        except zmq.ZMQError as exc:
            self.close()
            if self._lock is not None:
                os.close(self._lock)
            raise ConfigError(f"{key}: {address} cannot be bound: {zmq.strerror(exc.errno or 0)}") from exc
        self.look()

    @property
    def monitor(self) -> zmq.Socket[bytes]:
        """Can be read when there is something for `look`."""
        return self._events.socket

    def look(self) -> None:
        """Reads who came and went since the last call."""
        for kind, number in self._events.take():
            if kind == zmq.EVENT_ACCEPTED:
                self._inside.add(number)
                self._silent[number] = None
            elif kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._silent.pop(number, None)
            elif kind == zmq.EVENT_DISCONNECTED:
                self._inside.discard(number)
                self._silent.pop(number, None)
                self._on_gone(number)
            elif kind == zmq.EVENT_LISTENING and self._file is None:
                self._listener = socket.socket(fileno=os.dup(number))

    def shut(self) -> bool:
        """Lets nobody in any more. Those who are in stay. Returns whether it was open."""
        if self._shut:
            return False
        try:
            if self._file is not None:
                self._file.rename(f"{self._file}{_SHUT_SUFFIX}")
            elif self._listener is not None:
                self._listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _DROP_PROGRAM)
            self._shut = True
        except OSError as exc:
            if not self._logged:
                _log.error("an address cannot be closed to new clients", address=self.address, error=str(exc))
            self._logged = True
        return self._shut

    def open(self) -> bool:
        """Lets clients in again. Returns whether it was shut."""
        if not self._shut:
            return False
        try:
            if self._file is not None:
                Path(f"{self._file}{_SHUT_SUFFIX}").rename(self._file)
            elif self._listener is not None:
                self._listener.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
            self._shut = False
        except OSError as exc:
            _log.error("an address cannot be opened to new clients", address=self.address, error=str(exc))
        return not self._shut

    @property
    def connections(self) -> int:
        """How many are in."""
        return len(self._inside)

    def dismiss(self, descriptor: int) -> None:
        """Ends a connection to this address. Opens no file, since there may be none left.

        If the connection has already ended and its number now belongs to another file, that file stays open.
        """
        try:
            connection = socket.socket(fileno=descriptor)
        except OSError:
            return
        try:
            if connection.getsockname() == self._own_name(connection):
                connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        finally:
            connection.detach()  # libzmq closes it

    def dismiss_silent(self, count: int) -> int:
        """Ends connections that have not said who they are, the newest first. Returns how many."""
        ended = list(self._silent)[::-1][:count]
        for descriptor in ended:
            del self._silent[descriptor]
            self._inside.discard(descriptor)
            self.dismiss(descriptor)
        return len(ended)

    def close(self) -> None:
        """Closes the socket."""
        self.open()
        if self._listener is not None:
            self._listener.close()
        self._events.close()
        self._socket.close()

    def give_back(self) -> None:
        """Lets another daemon take the address, after libzmq has closed its sockets. The file was ours until now."""
        if self._file is not None and self._lock is not None:
            with contextlib.suppress(OSError):
                self._file.unlink()
            os.close(self._lock)
            self._lock = None

    def _own_name(self, connection: socket.socket) -> object:
        """The name that the daemon's end of a connection has if it is one to this address."""
        if self._file is not None:
            return str(self._file)
        name = connection.getsockname()
        if self._listener is None or not isinstance(name, tuple):
            return None
        return name if name[1] == self._listener.getsockname()[1] else None


def _file_of(address: str) -> Path | None:
    """The file of an `ipc://` address. None for any other, and for Linux's abstract ones, which need no guard."""
    path = address.removeprefix("ipc://")
    return None if path == address or path.startswith("@") else Path(path)


def _lock(file: Path, address: str, key: str) -> int:
    """Takes an `ipc://` address for this process. libzmq alone would silently take it away from another daemon."""
    if len(os.fsencode(file)) > zmq.IPC_PATH_MAX_LEN:
        raise ConfigError(f"{key}: {address} cannot be bound: the path has more than {zmq.IPC_PATH_MAX_LEN} bytes")
    try:
        lock = os.open(f"{file}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise ConfigError(f"{key}: {address} cannot be bound: {exc.strerror}") from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(lock)
        raise ConfigError(f"{key}: {address} cannot be bound: another daemon answers there") from exc
    with contextlib.suppress(OSError):  # left by a daemon that was killed while its door was shut
        os.unlink(f"{file}{_SHUT_SUFFIX}")
    return lock
