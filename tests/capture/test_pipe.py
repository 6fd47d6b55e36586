"""The pipe between daemon and capture process: half a message and a message without end keep nobody waiting."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from longwatch.daemon.capture.pipe import LIVES, MessagePipe
from longwatch.daemon.errors import CaptureError

MOST = 4 << 20


@pytest.fixture
def ends() -> Iterator[tuple[MessagePipe, socket.socket]]:
    """The daemon's pipe, and the other end as it is."""
    ours, theirs = socket.socketpair()
    pipe = MessagePipe(ours, MOST)
    with theirs:
        yield pipe, theirs
    pipe.close()


def test_messages_of_all_sizes_come_whole_and_in_order(ends: tuple[MessagePipe, socket.socket]) -> None:
    pipe, theirs = ends
    messages = [bytes([number]) * size for number, size in enumerate((1, 0, 5, 70_000, 0, MOST))]
    sender = threading.Thread(target=lambda: [MessagePipe(theirs, patient=True).send(m) for m in messages])
    sender.start()
    assert [pipe.receive(5) for _ in messages] == messages
    sender.join()


def test_half_a_message_is_waited_for_no_longer_than_asked_and_completed_later(
    ends: tuple[MessagePipe, socket.socket],
) -> None:
    pipe, theirs = ends
    theirs.sendall(struct.pack(">I", 6) + b"abc")
    began = time.monotonic()
    assert pipe.receive(0.1) is None
    assert time.monotonic() - began < 1
    theirs.sendall(b"def" + struct.pack(">I", 0)[:2])
    assert pipe.receive(1) == b"abcdef"
    assert pipe.receive(0) is None
    theirs.sendall(bytes(2))
    assert pipe.receive(1) == LIVES


def test_a_trickle_of_bytes_keeps_nobody_longer_than_asked(ends: tuple[MessagePipe, socket.socket]) -> None:
    pipe, theirs = ends
    stop = threading.Event()

    def trickle() -> None:
        theirs.sendall(struct.pack(">I", MOST))
        while not stop.wait(0.01):
            theirs.sendall(b"x")

    thread = threading.Thread(target=trickle)
    thread.start()
    began = time.monotonic()
    assert pipe.receive(0.3) is None
    assert time.monotonic() - began < 2
    stop.set()
    thread.join()


def test_a_message_that_is_too_long_is_refused_by_its_head(ends: tuple[MessagePipe, socket.socket]) -> None:
    pipe, theirs = ends
    theirs.sendall(struct.pack(">I", MOST + 1))
    with pytest.raises(CaptureError, match=f"a message of {MOST + 1} bytes; at most {MOST} are allowed"):
        pipe.receive(1)


def test_a_closed_end_is_an_error_on_the_other_one(ends: tuple[MessagePipe, socket.socket]) -> None:
    pipe, theirs = ends
    theirs.close()
    with pytest.raises(EOFError):
        pipe.receive(1)
    with pytest.raises(OSError, match="Broken pipe"):
        pipe.send(b"x")
