"""Capture processes that a hostile camera has taken over: whatever they send, they are ended and begun again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .conftest import Watch, take

ROGUE = """#!{python} -P
import socket, struct, sys, time, msgspec
from longwatch.daemon.capture.message import *

end = socket.socket(fileno=int(sys.argv[-1]))

def send(message):
    body = message if message == b"" else msgspec.msgpack.encode(message)
    end.sendall(struct.pack(">I", len(body)) + body)

FRAME = Frame(10**18, 1, 1, b"xyz", b"", 0, 0)
{code}
"""
LIVES_FOR_EVER = "while True: send(b''); time.sleep(0.1)"


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("send(Opening()); send(Gap(1, 2, 'x')); time.sleep(60)", "sent what is no message"),
        ("send(Opening()); send(Opening()); time.sleep(60)", "sent twice that it opens the source"),
        ("send(FRAME); time.sleep(60)", "sent a frame that nobody asked for"),
        ("send(Opening())\n" + LIVES_FOR_EVER, "no frame for 2 s"),
        ("send(Opening()); time.sleep(0.5); send(FRAME)\n" + LIVES_FOR_EVER, "no frame for 1 s"),
    ],
)
def test_a_process_that_sends_what_it_may_not_is_ended(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, sentence: str
) -> None:
    script = tmp_path / "rogue"
    script.write_text(ROGUE.format(python=sys.executable, code=code))
    script.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(script))
    child = watch("rtsp://127.0.0.1:9/", stall_seconds=1, open_seconds=1, fps=10, reconnect_seconds=60)
    take(child, lambda _: child.restarts)
    assert sentence in child.last_error
    assert child.pid is None
