"""A real server on real sockets, with a service that stands in only for the model."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from longwatch.clients import Client
from longwatch.daemon.errors import StreamUnknown
from longwatch.daemon.protocol import (
    AnswerEnd,
    Ask,
    Delta,
    Done,
    Evidence,
    Forget,
    Forgotten,
    GapSpan,
    StatusReply,
    StreamsAdd,
    StreamsRemove,
    StreamStatus,
)
from longwatch.daemon.server.server import Server
from longwatch.daemon.server.service import OnReply
from longwatch.daemon.settings import ServerConfig
from longwatch.demo.process import free_ports
from longwatch.memory.errors import StoreUnwritable

MARCH_2_NS = 1_772_445_600_000_000_000  # 2026-03-02 10:00:00 UTC
Key = tuple[bytes, str]


def answer_end(request_id: str, text: str, picture: bytes = b"jpeg") -> AnswerEnd:
    """An answer with one block of evidence and a gap."""
    evidence = Evidence(
        block_id=7,
        start_ns=MARCH_2_NS,
        end_ns=MARCH_2_NS + 10**9,
        use=0.5,
        score=0.25,
        origin="recalled",
        picture=picture,
    )
    return AnswerEnd(
        request_id=request_id,
        text=text,
        stream="yard",
        evidence=[evidence],
        since_ns=MARCH_2_NS,
        until_ns=None,
        gaps=[GapSpan(start_ns=MARCH_2_NS, end_ns=MARCH_2_NS + 60 * 10**9)],
        recalled=[7],
        tokens=2,
        ttft_ms=1.5,
        total_ms=2.5,
        stopped="end",
        confidence=0.62,
    )


def status_reply(request_id: str, streams: dict[str, dict[str, object]]) -> StatusReply:
    """A daemon that watches some streams."""
    return StatusReply(
        request_id=request_id,
        version="0",
        model="none",
        device="cpu",
        retriever="heads",
        uptime_seconds=1.0,
        threads={"engine": True},
        restarts=0,
        streams=[
            StreamStatus(
                name=name,
                url=str(source["url"]),
                state="watching",
                last_error="",
                frames=1,
                dropped=0,
                restarts=0,
                blocks=1,
                durable_id=1,
                first_ns=MARCH_2_NS,
                last_ns=MARCH_2_NS + 3600 * 10**9,
                gaps=[],
                time_zone=str(source.get("time_zone", "UTC")),
            )
            for name, source in streams.items()
        ],
        answers_running=0,
        ram_bytes=0,
        ram_blocks=0,
        disk_bytes=0,
        queued_blocks=0,
        damaged_blocks=0,
        process_bytes=0,
        store_error="",
    )


class EchoService:
    """Answers with the question's words, a word a delta, on a thread of its own; what is special is asked for by name.

    `wait` never ends before it is cancelled, `brood` says nothing before that, `big PICTURES` ends with so many MiB,
    `nothing` rests on nothing, `stumble` is a mistake of ours. `hold` keeps the server's own thread until `let_go` is
    set.
    """

    def __init__(self) -> None:
        self.asked: list[Ask] = []
        self.cancelled: dict[Key, threading.Event] = {}
        self.streams: dict[str, dict[str, object]] = {"yard": {"url": "scene://[::1]:sun:[/]"}}
        self.let_go = threading.Event()

    def ask(self, request: Ask, key: Key, on_reply: OnReply) -> None:
        if request.stream not in (None, *self.streams):
            raise StreamUnknown(f"no stream {request.stream}; there are: {', '.join(self.streams)}")
        if request.stream is None and len(self.streams) > 1:
            raise StreamUnknown("none is named")
        if request.question == "stumble":
            raise ZeroDivisionError("a mistake of ours")
        if request.question == "hold":
            self.let_go.wait()
        self.asked.append(request)
        self.cancelled[key] = threading.Event()
        threading.Thread(target=self._answer, args=(request, key, on_reply), daemon=True).start()

    def cancel(self, key: Key) -> None:
        if key in self.cancelled:
            self.cancelled[key].set()

    def status(self, request_id: str) -> StatusReply:
        return status_reply(request_id, self.streams)

    def add_stream(self, request: StreamsAdd, on_reply: OnReply) -> None:
        if request.name == "full":
            raise StoreUnwritable("the disk is full")
        self.streams[request.name] = request.source
        on_reply(Done(request_id=request.request_id))

    def remove_stream(self, request: StreamsRemove, on_reply: OnReply) -> None:
        if self.streams.pop(request.name, None) is None:
            raise StreamUnknown(f"no stream {request.name}")
        on_reply(Done(request_id=request.request_id))

    def forget(self, request: Forget, on_reply: OnReply) -> None:
        on_reply(Forgotten(request_id=request.request_id, blocks=0))

    def _answer(self, request: Ask, key: Key, on_reply: OnReply) -> None:
        if request.question == "brood":
            self.cancelled[key].wait()
        for word in request.question.split():
            on_reply(Delta(request_id=request.request_id, text=f"{word} "))
        picture = b"jpeg"
        if request.question.startswith("wait"):
            while not self.cancelled[key].wait(0.005):
                on_reply(Delta(request_id=request.request_id, text="…"))
        elif request.question.startswith("big"):
            picture = b"\0" * (int(request.question.split()[1]) << 20)
        end = answer_end(request.request_id, request.question, picture)
        if request.question == "nothing":
            end = msgspec.structs.replace(end, evidence=[], gaps=[], confidence=None)
        on_reply(end)


class Wire:
    """A server, its service, and clients of it."""

    def __init__(self, config: ServerConfig) -> None:
        self.config, self.service = config, EchoService()
        self.server = Server(config, self.service)

    def client(self, keys_folder: Path | str = "", timeout_seconds: float = 10) -> Client:
        return Client(self.config.address, timeout_seconds=timeout_seconds, keys_folder=str(keys_folder))

    def eventually(self, holds: Callable[[], bool], timeout_seconds: float = 10) -> None:
        """Looks until something holds that another thread brings about."""
        tick, waited = threading.Event(), 0.0
        while not holds():
            assert waited < timeout_seconds, f"not within {timeout_seconds} s"
            tick.wait(0.02)
            waited += 0.02


@contextmanager
def running(kind: str = "tcp", *, keys_folder: Path | str = "", answers_at_once: int = 8) -> Iterator[Wire]:
    """A server that serves, on ports or sockets of its own."""
    with tempfile.TemporaryDirectory() as folder:
        address, events_address = f"ipc://{folder}/requests", f"ipc://{folder}/events"
        if kind == "tcp":
            address, events_address = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
        wire = Wire(
            ServerConfig(
                address=address,
                events_address=events_address,
                keys_folder=str(keys_folder),
                answers_at_once=answers_at_once,
                client_queue_bytes=1 << 20,
            )
        )
        wire.server.start()
        try:
            yield wire
        finally:
            wire.server.stop()
