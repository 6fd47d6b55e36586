"""The server on real sockets: what hostile, slow and vanished clients may do to it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq

from longwatch.clients import Client, keys
from longwatch.clients.errors import ClientTimeout, DaemonUnreachable, Refused
from longwatch.daemon import protocol
from longwatch.daemon.errors import ConfigError
from longwatch.daemon.protocol import AnswerEnd, Ask, Cancel, Delta, ErrorReply, Reply, StatusReply, StatusRequest
from longwatch.daemon.server.event_log import EVENTS_KEPT
from longwatch.daemon.server.server import Server
from longwatch.daemon.settings import ServerConfig

from .wire import EchoService, Wire, running


@pytest.fixture
def wire() -> Iterator[Wire]:
    with running() as wire:
        yield wire


@contextmanager
def raw_socket(wire: Wire, *options: tuple[int, int]) -> Iterator[zmq.Socket[bytes]]:
    """A client that keeps to no rule."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        for option, value in ((zmq.LINGER, 0), *options):
            socket.setsockopt(option, value)
        socket.connect(wire.config.address)
        yield socket


def receive(socket: zmq.Socket[bytes]) -> Reply:
    assert socket.poll(5000), "no reply"
    return protocol.decode_reply(socket.recv())


def lives(wire: Wire) -> bool:
    with wire.client() as client:
        return wire.server.alive and client.ask("still there?").text == "still there?"


def test_an_answer_comes_in_pieces_and_ends_with_its_evidence(wire: Wire) -> None:
    with wire.client() as client:
        *pieces, end = client.ask_stream("who was at the door?", stream="yard", seed=3)
    assert pieces == ["who ", "was ", "at ", "the ", "door? "]
    assert isinstance(end, AnswerEnd)
    assert (end.text, end.evidence[0].picture) == ("who was at the door?", b"jpeg")
    assert wire.service.asked[0].seed == 3


@pytest.mark.parametrize(
    ("request_", "code", "sentence"),
    [
        (Ask(request_id="1", question=" \n"), "question", "the question is empty"),
        (Ask(request_id="1", question="a" * 4097), "question", "the question has 4097 characters; at most 4096"),
        (Ask(request_id="1", question="q", stream="garden"), "stream_unknown", "no stream garden; there are: yard"),
        (Ask(request_id="1", question="q", since_ns=2, until_ns=1), "question", "the time span ends before it begins"),
        (Ask(request_id="1", question="stumble"), "internal", "the request failed; the daemon's log says why"),
        (protocol.StreamsRemove(request_id="1", name="garden"), "stream_unknown", "no stream garden"),
        (protocol.StreamsAdd(request_id="1", name="full", source={}), "memory", "the disk is full"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_to_the_one_who_asked(
    wire: Wire, request_: protocol.Request, code: str, sentence: str
) -> None:
    with raw_socket(wire) as socket:
        socket.send(protocol.encode(request_))
        assert receive(socket) == ErrorReply(request_id="1", code=code, message=sentence)
    assert lives(wire)


def test_a_message_of_100_kilobytes_gets_an_error_and_one_of_a_megabyte_the_end_of_its_connection(wire: Wire) -> None:
    with raw_socket(wire) as socket:
        socket.send(msgspec.msgpack.encode({"type": "Ask", "request_id": "1", "question": "a" * 100_000}))
        reply = receive(socket)
        assert isinstance(reply, ErrorReply)
        assert (reply.code, "at most 65536 are read" in reply.message) == ("bad_message", True)
    with raw_socket(wire) as socket:
        socket.send(bytes(1 << 20))
        assert not socket.poll(300)
    assert lives(wire)


def test_a_thousand_random_and_truncated_messages_get_a_thousand_errors(wire: Wire) -> None:
    rng = np.random.default_rng(5)
    whole = protocol.encode(Ask(request_id="x", question="is the door open?", stream="yard"))
    replies = 0
    with raw_socket(wire) as socket:
        for number in range(1000):
            data = rng.bytes(int(rng.integers(300))) if number % 2 else whole[: int(rng.integers(len(whole)))]
            socket.send_multipart([data] * (1 + number % 3))
            while socket.poll(0):
                assert isinstance(receive(socket), ErrorReply)
                replies += 1
        while replies < 1000:
            assert isinstance(receive(socket), ErrorReply)
            replies += 1
        assert not socket.poll(50)
    assert wire.service.asked == []
    assert lives(wire)


def test_a_reply_too_large_for_any_client_becomes_an_error(wire: Wire) -> None:
    with wire.client() as client:
        assert len(client.ask("big 20").evidence[0].picture) == 20 << 20
        with pytest.raises(Refused, match="at most 33554432 are read"):
            client.ask("big 33")
        assert client.ask("small").text == "small"


def test_cancelling_ends_an_answer_and_leaves_the_others(wire: Wire) -> None:
    with raw_socket(wire) as socket:
        for request_id in ("a", "b"):
            socket.send(protocol.encode(Ask(request_id=request_id, question="wait")))
        socket.send(protocol.encode(Cancel(request_id="a")))
        while not isinstance(reply := receive(socket), AnswerEnd):
            assert isinstance(reply, Delta)
        assert reply.request_id == "a"
    assert [key[1] for key, event in wire.service.cancelled.items() if event.is_set()] == ["a"]


def test_a_client_that_vanishes_has_its_answers_cancelled(wire: Wire) -> None:
    with raw_socket(wire) as socket:
        socket.send(protocol.encode(Ask(request_id="1", question="wait")))
        receive(socket)
    (event,) = wire.service.cancelled.values()
    assert event.wait(5)


def test_a_client_that_never_reads_is_given_up_and_the_others_are_served_at_once() -> None:
    with running(answers_at_once=64) as wire, raw_socket(wire, (zmq.RCVHWM, 1), (zmq.RCVBUF, 4096)) as socket:
        socket.send(protocol.encode(Ask(request_id="1", question="wait")))
        for number in range(40):  # 40 MiB that nobody takes
            socket.send(protocol.encode(Ask(request_id=f"big {number}", question="big 1")))
            if number % 10 == 0:
                began = time.monotonic()
                assert lives(wire)
                assert time.monotonic() - began < 2
        wire.eventually(lambda: any(event.is_set() for event in wire.service.cancelled.values()))
        assert lives(wire)


@pytest.mark.slow
def test_who_stops_reading_ends_no_process() -> None:
    """Neither the server's own, nor a client's; each in one of its own here. See `protocol.notice_the_dead`."""
    root = Path(__file__).parents[1]
    processes = [
        subprocess.Popen([sys.executable, "-c", f"from tests import test_server; test_server.{part}()"], cwd=root)
        for part in (_flood_and_vanish.__name__, _listen_late.__name__)
    ]
    assert [process.wait(60) for process in processes] == [0, 0]


def _flood_and_vanish() -> None:
    with running() as wire:
        with raw_socket(wire, (zmq.SNDHWM, 1)) as socket:
            socket.send(protocol.encode(Ask(request_id="1", question="hold")))
            while socket.poll(500, zmq.POLLOUT):  # until nothing more goes in
                socket.send(protocol.encode(Ask(request_id="1", question="a" * 4096)))
        time.sleep(3)
        wire.service.let_go.set()
        assert lives(wire)


def _listen_late() -> None:
    with running() as wire, wire.client() as client:
        events = client.events(wire.config.events_address, after=0)
        wire.server.publish("yard", "block", 0, 0, "0")
        assert next(events).text == "0"
        for number in range(1, EVENTS_KEPT + 1):
            wire.server.publish("yard", "block", 0, 0, str(number))
        time.sleep(13)  # heartbeats would have given up by now
        assert [next(events).text for _ in range(EVENTS_KEPT)] == [str(n) for n in range(1, EVENTS_KEPT + 1)]
        assert lives(wire)


def test_questions_beyond_those_at_once_are_refused_as_busy_until_one_ends() -> None:
    with running(answers_at_once=2) as wire, raw_socket(wire) as one, raw_socket(wire) as two, wire.client() as client:
        for socket in (one, two):
            socket.send(protocol.encode(Ask(request_id="a", question="wait")))
        wire.eventually(lambda: len(wire.service.asked) == 2)
        with pytest.raises(Refused, match="2 questions are being answered") as refused:
            client.ask("and I?")
        assert refused.value.code == "busy"
        one.send(protocol.encode(Cancel(request_id="a")))
        wire.eventually(lambda: any(event.is_set() for event in wire.service.cancelled.values()))
        while not isinstance(receive(one), AnswerEnd):
            pass
        assert client.ask("and I?").text == "and I?"


def test_one_client_has_half_of_the_answers_at_most_and_another_is_answered() -> None:
    with running(answers_at_once=8) as wire, raw_socket(wire) as greedy, wire.client() as client:
        for number in range(20):
            greedy.send(protocol.encode(Ask(request_id=str(number), question="wait")))
        refused = 0
        while refused < 16:
            reply = receive(greedy)
            if isinstance(reply, ErrorReply):
                assert (reply.code, "4 questions of yours are being answered" in reply.message) == ("busy", True)
                refused += 1
        assert len(wire.service.asked) == 4
        assert client.ask("and I?").text == "and I?"


def test_the_same_id_twice_is_refused_and_its_client_is_still_cancelled_when_it_vanishes(wire: Wire) -> None:
    ask = protocol.encode(Ask(request_id="1", question="wait"))
    with raw_socket(wire) as socket:
        socket.send(ask)
        socket.send(ask)
        while not isinstance(reply := receive(socket), ErrorReply):
            pass
        assert reply.message == "request 1 is being answered already"
    (event,) = wire.service.cancelled.values()
    assert event.wait(5)


def test_nothing_is_kept_for_clients_that_came_and_went(wire: Wire) -> None:
    for _ in range(20):
        assert lives(wire)
    wire.eventually(lambda: not wire.server._handler.answers and not wire.server._outbox)


def test_events_are_numbered_one_by_one_and_can_be_asked_for_again(wire: Wire) -> None:
    with wire.client() as client:
        for number in range(5):
            wire.server.publish("yard", "block", number, number, str(number))
        wire.eventually(lambda: len(client.events_since(0).events) == 5)
        found = client.events_since(0)
        numbers = [event.number for event in found.events]
        assert numbers == list(range(numbers[0], numbers[0] + 5))
        assert found.lost  # the numbers before the first are those of an earlier life
        later = client.events_since(numbers[2])
        assert ([event.text for event in later.events], later.lost) == (["3", "4"], False)
        assert client.events_since(numbers[-1]).events == []


def test_a_subscriber_that_lagged_gets_every_event_in_order(wire: Wire) -> None:
    """More events than the sockets hold are published while it does not read, and the last is among those dropped."""
    with wire.client() as client:
        seen = client.events(wire.config.events_address, after=0, quiet_seconds=0.2)
        wire.server.publish("yard", "block", 0, 0, "first")
        numbers = [next(seen).number]
        for _ in range(9000):
            wire.server.publish("yard", "block", 0, 0, "")
        newest = numbers[0] + 9000
        wire.eventually(lambda: client.events_since(newest - 1).newest == newest)
        while numbers[-1] < newest:
            numbers.append(next(seen).number)
    assert numbers == list(range(numbers[0], newest + 1))


def test_without_a_number_events_begin_with_the_next_that_happens(wire: Wire) -> None:
    wire.server.publish("yard", "block", 0, 0, "old")
    heard: list[str] = []
    with wire.client() as other:
        wire.eventually(lambda: len(other.events_since(0).events) == 1)

    def listen() -> None:
        with wire.client() as client:
            heard.append(next(client.events(wire.config.events_address, quiet_seconds=0.1)).text)

    thread = threading.Thread(target=listen)
    thread.start()
    while thread.is_alive():  # it may begin to listen after any of these
        wire.server.publish("yard", "block", 0, 0, "new")
        thread.join(0.05)
    assert heard == ["new"]


def test_a_listener_is_told_when_the_daemon_is_gone() -> None:
    with running() as wire:
        client = wire.client(timeout_seconds=0.5)
        seen = client.events(wire.config.events_address, after=0, quiet_seconds=0.1)
        wire.server.publish("yard", "block", 0, 0, "")
        next(seen)
    with client, pytest.raises((DaemonUnreachable, ClientTimeout)):
        next(seen)


def test_a_server_whose_thread_died_serves_again_after_start(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(threading, "excepthook", lambda _: None)
        broken.setattr(wire.server, "_send_events", lambda: 1 / 0)
        wire.server.publish("yard", "block", 0, 0, "")
        wire.eventually(lambda: not wire.server.alive)
    wire.server.start()
    assert lives(wire)


def test_an_address_in_use_is_a_clear_error(wire: Wire) -> None:
    with pytest.raises(ConfigError, match=r"server\.address: .* cannot be bound: Address already in use"):
        Server(wire.config, EchoService())


@pytest.mark.parametrize("key", ["address", "events_address"])
def test_binding_beyond_loopback_needs_keys(key: str) -> None:
    config = msgspec.structs.replace(ServerConfig(), **{key: "tcp://0.0.0.0:5757"})
    with pytest.raises(ConfigError, match=f"server.{key}: .* is open to the network"):
        Server(config, EchoService())


@pytest.mark.parametrize("there", [False, True])
def test_a_keys_folder_without_keys_is_a_clear_error(tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "clients").mkdir()
    with pytest.raises(ConfigError, match=f"run longwatch keys {tmp_path}"):
        Server(ServerConfig(keys_folder=str(tmp_path)), EchoService())


def test_with_keys_only_clients_that_the_daemon_knows_get_in(tmp_path: Path) -> None:
    (ours,) = keys.make(tmp_path / "ours", 1)
    (strange,) = keys.make(tmp_path / "strange", 1)
    (strange / "server.key").write_bytes((ours / "server.key").read_bytes())  # knows where it wants to go
    with running(keys_folder=tmp_path / "ours") as wire:
        with wire.client(ours) as client:
            assert client.ask("is it me?").text == "is it me?"
            wire.server.publish("yard", "block", 0, 0, "heard")
            wire.server.publish("yard", "block", 0, 0, "heard too")
            seen = client.events(wire.config.events_address, after=0)
            assert [next(seen).text, next(seen).text] == ["heard", "heard too"]
            with wire.client(ours) as other:
                published = other.events(wire.config.events_address, quiet_seconds=60)  # only what the socket brings
                publisher = threading.Thread(target=_publish_for_a_while, args=(wire,))
                publisher.start()
                assert next(published).text == "now"
                publisher.join()
        outcomes: list[str] = []
        threads = [
            threading.Thread(target=lambda folder=folder: outcomes.append(_outcome(wire, folder)))
            for folder in ("", strange)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outcomes == ["unreachable", "unreachable"]
        assert len(wire.service.asked) == 1


def _publish_for_a_while(wire: Wire) -> None:
    for _ in range(20):
        wire.server.publish("yard", "block", 0, 0, "now")
        time.sleep(0.05)


def _outcome(wire: Wire, keys_folder: Path | str) -> str:
    with wire.client(keys_folder, timeout_seconds=1) as client:
        try:
            return client.status().version
        except DaemonUnreachable:
            return "unreachable"


def test_keys_that_are_there_are_never_replaced_and_secret_ones_are_the_owners(tmp_path: Path) -> None:
    keys.make(tmp_path, 1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    keys.make(tmp_path, 2)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert len(list((tmp_path / "clients").iterdir())) == 2
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.rglob("*_secret"))


def test_many_clients_at_once_each_get_their_own_answer() -> None:
    """Each thread's client gets the words that it asked for, and nobody else's."""
    with running(answers_at_once=64) as wire:
        wrong: list[str] = []

        def ask(number: int) -> None:
            with Client(wire.config.address) as client:
                for turn in range(10):
                    question = f"client {number} turn {turn}"
                    *pieces, end = client.ask_stream(question)
                    if "".join(map(str, pieces)).strip() != question:
                        wrong.append(f"{question}: {pieces} {end}")

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_status_is_answered_while_answers_run(wire: Wire) -> None:
    with raw_socket(wire) as socket:
        socket.send(protocol.encode(Ask(request_id="1", question="wait")))
        socket.send(protocol.encode(StatusRequest(request_id="2")))
        while not isinstance(reply := receive(socket), StatusReply):
            pass
        assert reply.request_id == "2"


def test_a_status_shows_at_once_what_was_done_before_it(wire: Wire) -> None:
    with wire.client() as client:
        for turn in range(20):
            client.add_stream("gate", url="scene://")
            assert [stream.name for stream in client.status().streams] == ["yard", "gate"], turn
            client.remove_stream("gate")
            assert [stream.name for stream in client.status().streams] == ["yard"], turn


def test_one_who_floods_the_daemon_keeps_nobody_waiting(wire: Wire) -> None:
    stop = threading.Event()

    def flood() -> None:
        with raw_socket(wire) as socket:
            number = 0
            while not stop.is_set():
                number += 1
                with contextlib.suppress(zmq.Again):
                    socket.send(protocol.encode(Ask(request_id=str(number), question="")), zmq.NOBLOCK)
                while socket.poll(0):
                    socket.recv()

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        with wire.client() as client:
            for _ in range(20):
                began = time.monotonic()
                assert client.ask("and I?").text == "and I?"
                assert time.monotonic() - began < 2
    finally:
        stop.set()
        thread.join()


def test_more_events_than_one_reply_holds_are_told_reply_by_reply(wire: Wire) -> None:
    for number in range(2500):
        wire.server.publish("yard", "block", 0, 0, str(number))
    with wire.client() as client:
        wire.eventually(lambda: client.events_since(0).newest == client.events_since(0).events[0].number + 2499)
        first = client.events_since(0)
        assert (len(first.events), first.events[-1].number < first.newest) == (1000, True)
        heard = client.events(wire.config.events_address, after=0, quiet_seconds=60)
        assert [next(heard).text for _ in range(2500)] == [str(number) for number in range(2500)]


def test_hundreds_who_are_connected_at_once_are_all_answered(wire: Wire) -> None:
    with zmq.Context() as context:
        sockets = []
        for number in range(400):
            socket = context.socket(zmq.DEALER)
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(wire.config.address)
            socket.send(protocol.encode(StatusRequest(request_id=str(number))))
            sockets.append(socket)
        for number, socket in enumerate(sockets):
            assert receive(socket).request_id == str(number)
            socket.close()
    assert lives(wire)
