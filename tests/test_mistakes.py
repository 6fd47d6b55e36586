"""Mistakes that users and clients make: one clear sentence each, and the daemon lives."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq

from longwatch.clients import Client
from longwatch.clients.errors import DaemonUnreachable, Refused
from longwatch.daemon import protocol
from longwatch.daemon.protocol import Ask, ErrorReply, StatusRequest
from longwatch.demo.process import free_ports

from .daemon_process import DaemonProcess


def run_daemon(folder: Path, config: str) -> tuple[int, str]:
    """Exit code and standard error of a daemon that cannot start."""
    (folder / "config.toml").write_text(config)
    done = subprocess.run(
        [sys.executable, "-m", "longwatch.daemon.main", "config.toml"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


def last_line(text: str) -> str:
    assert "Traceback" not in text
    return text.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("[memory]\nram_byts = 1", "longwatch: config.toml: unknown key memory.ram_byts; did you mean ram_bytes?"),
        (
            "[memory]\nkeep_days = -1",
            "longwatch: config.toml: memory.keep_days is -1, but must be a number of at least 0",
        ),
        (
            '[memory]\ncodec = "zip"',
            "longwatch: config.toml: memory.codec is 'zip', "
            "but must be one of ecsq1, ecsq2, ecsq4, int2, int4, int8, raw16, raw32",
        ),
        ("[memory", "longwatch: config.toml: not a valid TOML file: Expected ']' at the end of a table declaration"),
        (
            '[streams.A]\nurl = "x.mp4"',
            "longwatch: config.toml: streams: 'A' is not a valid name; names of streams are of a-z, 0-9",
        ),
        (
            '[server]\naddress = "tcp://0.0.0.0:5757"',
            "longwatch: server.address: tcp://0.0.0.0:5757 is open to the network",
        ),
        ('[memory]\nfolder = "/sys/store"', "longwatch: memory.folder /sys/store cannot be used: "),  # nobody may write
        ('[model]\nname = "/nowhere"', "longwatch: model.name: there is no folder /nowhere"),
        (
            '[streams.x]\nurl = "gopher://a:b@c"',
            "longwatch: config.toml: streams.x: gopher://***@c: no source reads gopher://",
        ),
    ],
)
def test_a_mistake_in_the_configuration_is_one_sentence(tmp_path: Path, config: str, sentence: str) -> None:
    code, said = run_daemon(tmp_path, config)
    assert code in (1, 2)
    assert last_line(said).startswith(sentence)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("scene://?size=1x1", "size must be even numbers from 64x64 to 3840x2160"),
        ("scene://?busy=7", "busy between 0 and 1"),
        ("scene://?start=monday", "start 'monday' is no time; write it as 2026-03-02T14:00:00"),
        ("scene://?start=9999-01-01", "is before 1970 or after 2261"),
    ],
)
def test_a_scene_that_cannot_be_written_is_one_sentence(tmp_path: Path, url: str, sentence: str) -> None:
    command = [sys.executable, "-m", "longwatch.yard.clip", "--url", url, "--fps", "5"]
    done = subprocess.run(
        [*command, "--truth", str(tmp_path / "clip.jsonl")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert sentence in last_line(done.stderr)


def test_a_missing_configuration_file_is_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "longwatch.daemon.main", "none.toml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "longwatch: none.toml: No such file or directory\n")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon that watched three minutes of the yard and tries sources that cannot be read."""
    folder = tmp_path_factory.mktemp("daemon")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "corrupt.mp4").write_bytes(os.urandom(20_000))
    (closed,) = free_ports(1)
    streams = f"""
[streams.yard]
url = "scene://?seed=2&minutes=3&start=2026-03-02T10:00:00"
pace = "fast"
[streams.empty]
url = "{folder}/empty.mp4"
[streams.corrupt]
url = "{folder}/corrupt.mp4"
[streams.refused]
url = "rtsp://ann:s3cret@127.0.0.1:{closed}/x"
"""
    with DaemonProcess(folder, streams) as process:
        process.wait(lambda s: s.streams[0].state == "ended")
        yield process


def test_sources_that_cannot_be_read_say_why_and_mask_the_password(daemon: DaemonProcess) -> None:
    status = daemon.wait(lambda s: all(stream.last_error for stream in s.streams[1:]))
    empty, corrupt, refused = status.streams[1:]
    assert (empty.state, corrupt.state, refused.state) == ("failed", "failed", "reconnecting")
    assert empty.last_error.endswith("empty.mp4: the file is empty")
    assert "corrupt.mp4: " in corrupt.last_error
    assert "refused" in refused.last_error
    assert refused.url.startswith("rtsp://***@127.0.0.1:")
    assert "s3cret" not in repr(status)
    assert "s3cret" not in daemon.log.read_text()


@pytest.mark.parametrize(
    ("question", "stream", "code", "sentence"),
    [
        ("   ", "yard", "question", "the question is empty"),
        ("why? " * 5000, "yard", "question", "the question has 25000 characters; at most 4096"),
        ("was it open at 27:00?", "yard", "question", "27:00 is not a time of day"),
        ("who is there?", "garden", "stream_unknown", "no stream garden; there are: corrupt, empty, refused, yard"),
        ("who is there?", None, "stream_unknown", "name the stream that you mean; there are: corrupt, empty"),
    ],
)
def test_a_question_that_cannot_be_answered_says_why(
    daemon: DaemonProcess, question: str, stream: str | None, code: str, sentence: str
) -> None:
    with pytest.raises(Refused, match=sentence) as refused:
        daemon.client.ask(question, stream=stream)
    assert refused.value.code == code


def test_a_question_of_100_kilobytes_is_refused_and_the_daemon_lives(daemon: DaemonProcess) -> None:
    with pytest.raises(Refused, match="at most 65536 are read"):
        daemon.client.ask("a" * 100_000, stream="yard")
    assert daemon.client.ask("is the door open now?", stream="yard").text


def test_an_empty_stream_still_answers(daemon: DaemonProcess) -> None:
    assert daemon.client.ask("is the door open now?", stream="empty").evidence == []


def test_a_store_in_use_is_one_sentence(daemon: DaemonProcess, tmp_path: Path) -> None:
    code, said = run_daemon(tmp_path, f'[memory]\nfolder = "{daemon.folder}/store"')
    assert code == 2
    assert "is in use by process" in last_line(said)


def test_an_address_in_use_is_one_sentence(daemon: DaemonProcess, tmp_path: Path) -> None:
    code, said = run_daemon(tmp_path, f'[server]\naddress = "{daemon.address}"')
    assert code == 2
    assert last_line(said) == f"longwatch: server.address: {daemon.address} cannot be bound: Address already in use"


def test_a_stream_with_a_wrong_key_or_a_taken_name_is_refused(daemon: DaemonProcess) -> None:
    with pytest.raises(Refused, match="stream new: unknown key fsp; did you mean fps"):
        daemon.client.add_stream("new", url="a.mp4", fsp=3)
    with pytest.raises(Refused, match="a stream yard is there already"):
        daemon.client.add_stream("yard", url="scene://?seed=1")
    with pytest.raises(Refused, match="no stream garden"):
        daemon.client.remove_stream("garden")


def test_a_thousand_random_and_truncated_messages_harm_nothing(daemon: DaemonProcess) -> None:
    """Each that is one frame gets an error of its own, and real requests between them are answered."""
    rng = np.random.default_rng(1)
    whole = protocol.encode(Ask(request_id="x", question="is the door open?", stream="nowhere"))
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.connect(daemon.address)
        replies = 0
        for number in range(1000):
            data = rng.bytes(int(rng.integers(0, 300))) if number % 2 else whole[: int(rng.integers(len(whole)))]
            socket.send_multipart([data] * (1 + number % 3))
            while socket.poll(0):
                assert isinstance(protocol.decode_reply(socket.recv()), ErrorReply)
                replies += 1
        while replies < 1000 and socket.poll(5000):
            assert isinstance(protocol.decode_reply(socket.recv()), ErrorReply)
            replies += 1
    assert replies == 1000
    assert all(daemon.client.status().threads.values())


def test_a_client_that_never_reads_is_given_up_and_others_are_served(daemon: DaemonProcess) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.RCVHWM, 1)
        socket.setsockopt(zmq.RCVBUF, 4096)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(daemon.address)
        for number in range(20_000):
            socket.send(protocol.encode(StatusRequest(request_id=f"{number}")))
            if number % 5000 == 0:
                began = time.monotonic()
                assert daemon.client.ask("is the lamp on now?", stream="yard").text
                assert time.monotonic() - began < 10
        status = daemon.wait(lambda s: "giving it up" in daemon.log.read_text())
    assert all(status.threads.values())
    assert status.process_bytes < 2 << 30


def test_cancelling_stops_an_answer_and_a_closed_client_is_forgotten(daemon: DaemonProcess) -> None:
    with Client(daemon.address) as client:
        pieces = client.ask_stream("what is there now?", stream="yard", temperature=5.0, max_tokens=4096)
        next(pieces)
        pieces.close()
    daemon.wait(lambda s: s.answers_running == 0)


def test_no_daemon_is_told_at_once() -> None:
    (port,) = free_ports(1)
    with Client(f"tcp://127.0.0.1:{port}") as client, pytest.raises(DaemonUnreachable, match="no daemon answers at"):
        client.status()
