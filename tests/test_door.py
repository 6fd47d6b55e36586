"""Connections: too many of them shut nobody out who is in, and cost the daemon none of its own files."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import zmq

from longwatch.clients import Client
from longwatch.clients.errors import ClientError, DaemonUnreachable
from longwatch.daemon.errors import ConfigError
from longwatch.daemon.server.door import HANDSHAKE_MS, Door
from longwatch.daemon.server.server import Server
from longwatch.daemon.settings import ServerConfig

from .wire import EchoService, running

FILES = 256


@pytest.fixture(params=["tcp", "ipc"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "tcp://127.0.0.1:*" if request.param == "tcp" else f"ipc://{tmp_path}/door"


@contextmanager
def door(address: str) -> Iterator[tuple[zmq.Socket[bytes], Door, str]]:
    with zmq.Context() as context:
        router = context.socket(zmq.ROUTER)
        made = Door(router, address, "server.address", 16, lambda _: None)
        bound = router.getsockopt_string(zmq.LAST_ENDPOINT)
        try:
            yield router, made, bound
        finally:
            made.close()
            made.give_back()


def silent(address: str) -> socket.socket:
    """A connection that says nothing."""
    if address.startswith("ipc://"):
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(2)
            connection.connect(address.removeprefix("ipc://"))
        except OSError:
            connection.close()
            raise
        return connection
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return socket.create_connection((host, int(port)), 2)


def test_a_shut_door_keeps_new_clients_out_and_those_inside_are_served(address: str) -> None:
    with door(address) as (router, made, bound), zmq.Context() as theirs:
        inside, late = theirs.socket(zmq.DEALER), theirs.socket(zmq.DEALER)
        inside.connect(bound)
        inside.send(b"first")
        assert router.recv_multipart()[1] == b"first"
        assert made.shut()
        late.connect(bound)
        late.send(b"let me in")
        inside.send(b"second")
        assert router.recv_multipart()[1] == b"second"
        assert not router.poll(300)
        assert made.open()
        assert router.poll(5000)
        assert router.recv_multipart()[1] == b"let me in"
        made.look()
        assert made.connections == 2
        theirs.destroy(linger=0)


def test_a_connection_that_says_nothing_is_ended(address: str) -> None:
    with door(address) as (_, made, bound), silent(bound) as connection:
        connection.settimeout(HANDSHAKE_MS / 1000 + 3)
        while connection.recv(100):  # ZeroMQ's greeting
            pass
        end = time.monotonic() + 3
        while made.connections and time.monotonic() < end:
            made.look()
        assert made.connections == 0


@pytest.mark.slow
def test_a_second_daemon_on_the_same_address_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/a"
    config = ServerConfig(address=address, events_address=f"ipc://{tmp_path}/b")
    first = Server(config, EchoService())
    first.start()
    with pytest.raises(ConfigError, match=r"server\.address: ipc://.* cannot be bound: another daemon answers there"):
        Server(config, EchoService())
    with Client(address) as client:
        assert client.ask("still there?").text == "still there?"
    first.stop()
    assert not (tmp_path / "a").exists()
    second = Server(config, EchoService())  # the lock went with the first
    second.start()
    with Client(address) as client:
        assert client.ask("and you?").text == "and you?"
    second.stop()


@pytest.mark.slow
def test_the_socket_of_a_daemon_that_was_killed_is_taken_over(tmp_path: Path) -> None:
    for name in ("a", "a.shut"):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(tmp_path / name))
    server = Server(ServerConfig(address=f"ipc://{tmp_path}/a", events_address=f"ipc://{tmp_path}/b"), EchoService())
    server.start()
    with Client(f"ipc://{tmp_path}/a") as client:
        assert client.ask("there?").text == "there?"
    server.stop()
    assert {path.suffix for path in tmp_path.iterdir()} == {".lock"}


@pytest.mark.parametrize("kind", ["tcp", "ipc"])
@pytest.mark.slow
def test_silent_connections_beyond_all_files_end_no_daemon_and_shut_out_nobody_for_long(
    kind: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", f"from tests import test_door; test_door._serve_with_few_files({kind!r})"]
    process = subprocess.Popen(
        command, cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process, ExitStack() as held:
        address = process.stdout.readline().strip()
        inside = held.enter_context(Client(address, timeout_seconds=5))
        assert inside.ask("there?").text == "there?"
        until = time.monotonic() + 4
        with contextlib.suppress(OSError):  # none more is let in
            for _ in range(FILES + 100):
                held.enter_context(silent(address))
                assert time.monotonic() < until, "so many were let in"
        assert inside.ask("still there?").text == "still there?"
        with Client(address, timeout_seconds=5) as late:  # waits until the silent ones are let go
            assert _insist(late) == "and now?"
        process.stdin.write("\n")
        process.stdin.flush()
        *_, free = process.stdout.read().split()  # behind the log
        assert process.wait(20) == 0
        assert int(free) > 0, "no file was free at the worst moment"


def _insist(client: Client) -> str:
    end = time.monotonic() + 20
    while True:
        try:
            return client.ask("and now?").text
        except DaemonUnreachable:
            assert time.monotonic() < end, "nobody is let in again"
        except ClientError as exc:
            raise AssertionError(exc) from exc


def _serve_with_few_files(kind: str) -> None:
    """In a process of its own: serves until a line comes, and prints how many files were free at the worst moment."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    free = FILES
    with running(kind) as wire:
        print(wire.config.address, flush=True)
        os.set_blocking(0, False)
        while not sys.stdin.readline():
            try:
                free = min(free, FILES - len(os.listdir("/proc/self/fd")))
            except OSError:
                free = 0
            time.sleep(0.005)
    print(free)


def test_a_path_that_is_too_long_for_a_socket_leaves_no_file_behind(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/{'x' * 100}"
    with pytest.raises(ConfigError, match="cannot be bound: the path has more than 107 bytes"):
        Server(ServerConfig(address=address, events_address=f"ipc://{tmp_path}/events"), EchoService())
    assert list(tmp_path.iterdir()) == []
