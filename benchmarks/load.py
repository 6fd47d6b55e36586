"""Whether anybody waits too long, or anything is lost, where many cameras are watched and many people ask.

A real daemon watches rendered yards at their own pace. Askers put one question after the other about all of them, and
a client asks all along how the daemon is. After a while other work comes beside it: so many processes that do nothing
but count. Then so many clients connect at once and each wants to know how the daemon is, and last come messages of a
client that means ill or is broken. The baseline is the same askers with one yard, and nothing else going on.

A wait is the time from a question to its first words (however often it was refused as busy before), or from a request
to its reply. Lost are blocks that were announced as durable and are not on the disk afterwards, and frames that the
daemon counts and that neither became a block nor are in a gap.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zmq
from crowd import Crowd, Wait
from hostile import hostile_messages
from ledger import Ledger
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from longwatch.clients import Client
from longwatch.clients.errors import ClientError
from longwatch.daemon import protocol
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.daemon.protocol import StatusReply, StatusRequest
from longwatch.demo.process import free_ports, running_daemon

LONGEST_SECONDS, STATUS_MS = 5.0, 300.0
START_SECONDS, REPLY_SECONDS = 300.0, 30.0
LONGEST_TOLD = 12
INBOX_FRAMES = 16  # of a stream, taken from the camera and not encoded yet: its inbox, and a chunk
_AT_ONCE, _PAUSE_SECONDS = 50, 0.01  # hostile messages; no more than 5,000 come in a second
_CONFIG = """
[model]
threads = {threads}
[memory]
folder = "{folder}/store"
keep_days = 0
[server]
address = "tcp://127.0.0.1:{port}"
events_address = "tcp://127.0.0.1:{events_port}"
answers_at_once = {askers}
[log]
level = "warning"
"""
_STREAM = """
[streams.yard{number}]
url = "scene://?seed={number}&busy=0.6"
fps = {fps}
gate_levels = 0
"""


class Phase(NamedTuple):
    """A part of the daemon's life in which one thing is tried."""

    name: str
    since: float
    until: float

    def has(self, wait: Wait) -> bool:
        """Whether a wait came to its end here; what is tried here may be why it was long."""
        return self.since <= wait.at + wait.seconds <= self.until


class Load:
    """A daemon with so many streams, askers and trials, and what came of it."""

    def __init__(
        self, options: argparse.Namespace, streams: int, folder: Path, fingerprint: bytes, progress: Progress
    ) -> None:
        self._options, self._folder, self._progress = options, folder, progress
        self._names = [f"yard{number}" for number in range(streams)]
        port, events_port = free_ports(2)
        self._address = f"tcp://127.0.0.1:{port}"
        self._config = _CONFIG.format(
            folder=folder, port=port, events_port=events_port, askers=max(8, options.askers), threads=options.threads
        ) + "".join(_STREAM.format(number=number, fps=options.fps) for number in range(streams))
        self._ledger = Ledger(folder / "store", fingerprint, digested="")
        self._phases: list[Phase] = []
        self._clients: list[float | None] = []  # how long each of the many waited; None where no reply came
        self._start_seconds = 0.0

    def run(self, trials: Sequence[str]) -> dict[str, Any]:
        """Lives through the trials, in order: `ask`, `beside`, `clients`, `hostile`."""
        self._ledger.begin_life()
        with (
            running_daemon(self._config, self._folder) as self._daemon,
            Crowd(self._address, self._names, self._options.askers) as crowd,
            Client(self._address, timeout_seconds=START_SECONDS) as self._client,
        ):
            self._wait_for_all()
            crowd.start()
            for name in trials:
                self._try(name)
            waits = crowd.stop()
            status = self._ledger.hear(self._client)
            self._daemon.terminate()
            self._daemon.wait(timeout=120)
        self._ledger.examine()
        return self._sum_up(waits, status)

    def _wait_for_all(self) -> None:
        """Until every stream shows frames."""
        began, task = time.monotonic(), self._progress.add_task("starting", total=len(self._names))
        while time.monotonic() - began < START_SECONDS:
            self._check_alive()
            try:
                watching = sum(stream.frames > 0 for stream in self._ledger.hear(self._client).streams)
            except ClientError:
                continue
            self._progress.update(task, completed=watching, description=f"starting, {watching} streams show frames")
            if watching == len(self._names):
                break
            time.sleep(0.5)
        else:
            raise SystemExit(f"only {watching} of {len(self._names)} streams show frames after {START_SECONDS:g} s")
        self._start_seconds = round(time.monotonic() - began, 1)
        self._progress.remove_task(task)

    def _try(self, name: str) -> None:
        trials: dict[str, Callable[[], None]] = {
            "ask": self._listen,
            "beside": self._listen_beside_others,
            "clients": self._connect_many,
            "hostile": self._send_hostile,
        }
        began = time.monotonic()
        trials[name]()
        self._check_alive()
        self._ledger.hear(self._client)
        self._phases.append(Phase(name, began, time.monotonic()))

    def _listen(self) -> None:
        """Lets them ask."""
        task = self._progress.add_task("asking", total=self._options.seconds)
        until = time.monotonic() + self._options.seconds
        while (left := until - time.monotonic()) > 0:
            self._check_alive()
            self._ledger.hear(self._client)
            self._progress.update(task, completed=self._options.seconds - left)
            time.sleep(min(left, 1.0))
        self._progress.remove_task(task)

    def _listen_beside_others(self) -> None:
        with _other_work(self._options.beside):
            self._listen()

    def _connect_many(self) -> None:
        """So many connections at once, each with one request."""
        task = self._progress.add_task("connecting", total=self._options.clients)
        context = zmq.Context()
        context.set(zmq.MAX_SOCKETS, self._options.clients + 8)
        poller, began = zmq.Poller(), dict[Any, float]()
        request = protocol.encode(StatusRequest(request_id="many"))
        for _ in range(self._options.clients):
            connection = context.socket(zmq.DEALER)
            connection.setsockopt(zmq.LINGER, 0)
            connection.connect(self._address)
            began[connection] = time.monotonic()
            connection.send(request)
            poller.register(connection, zmq.POLLIN)
        deadline = time.monotonic() + REPLY_SECONDS
        open_ones = dict(began)
        while open_ones and time.monotonic() < deadline:
            for connection, _ in poller.poll(1000):
                connection.recv()
                self._clients.append(time.monotonic() - open_ones.pop(connection))
                poller.unregister(connection)
                self._progress.advance(task)
        self._clients += [None] * len(open_ones)
        for connection in began:
            connection.close()
        context.term()
        self._progress.remove_task(task)

    def _send_hostile(self) -> None:
        """Messages that the daemon must survive; what it answers is read, as far as it answers."""
        task = self._progress.add_task("hostile messages", total=self._options.messages)
        messages = hostile_messages(random.Random(self._options.seed), self._names[0])
        context = zmq.Context()
        with context.socket(zmq.DEALER) as connection:
            connection.setsockopt(zmq.LINGER, 0)
            connection.connect(self._address)
            for number in range(self._options.messages):
                connection.send_multipart(next(messages))  # waits while too many are on their way
                while connection.poll(0):
                    connection.recv_multipart()
                if number % _AT_ONCE == 0:
                    self._check_alive()
                    self._progress.update(task, completed=number)
                    time.sleep(_PAUSE_SECONDS)
            deadline = time.monotonic() + REPLY_SECONDS
            while time.monotonic() < deadline and connection.poll(2000):
                connection.recv_multipart()
        context.term()
        self._progress.remove_task(task)

    def _check_alive(self) -> None:
        if self._daemon.poll() is not None:
            log = (self._folder / "daemon.log").read_text()[-2000:]
            raise SystemExit(f"the daemon has ended with {self._daemon.returncode}: {log}")

    def _sum_up(self, waits: list[Wait], status: StatusReply) -> dict[str, Any]:
        answers, looks = ([wait for wait in waits if wait.what == what] for what in ("answer", "status"))
        answered = [seconds for seconds in self._clients if seconds is not None]
        asked = [wait for wait in answers if self._phases[0].has(wait)]
        unaccounted = sum(
            max(0, stream.frames - (stream.blocks - len(stream.gaps)) - INBOX_FRAMES) for stream in status.streams
        )
        gaps = sum(len(stream.gaps) for stream in status.streams)
        return {
            "streams": len(self._names),
            "askers": self._options.askers,
            "start_s": self._start_seconds,
            "ttft_ms": _percentiles(wait.seconds for wait in asked),
            "status_ms": _percentiles(wait.seconds for wait in looks),
            "clients_ms": _percentiles(answered),
            "clients_without_reply": len(self._clients) - len(answered),
            "longest_wait_s": round(max([wait.seconds for wait in waits] + answered, default=0.0), 2),
            "lost": len(self._ledger.lost) + unaccounted,
            "blocks_lost": len(self._ledger.lost),
            "frames_lost": unaccounted,
            "ids_twice": len(self._ledger.twice),
            "durable": len(self._ledger.promised),
            "gaps": gaps,
            "restarts": status.restarts + sum(stream.restarts for stream in status.streams),
            "dropped": sum(stream.dropped for stream in status.streams),
            "errors": sorted({wait.error for wait in waits if wait.error})[:5],
            "failed": sum(bool(wait.error) for wait in waits),
            "longest": [self._told(wait) for wait in sorted(waits, key=lambda wait: -wait.seconds)[:LONGEST_TOLD]],
            "phases": [self._row(phase, answers, looks) for phase in self._phases],
        }

    def _told(self, wait: Wait) -> dict[str, Any]:
        """A wait, and how long after everybody began it did."""
        return {"what": wait.what, "at_s": round(wait.at - self._phases[0].since, 1), "seconds": round(wait.seconds, 2)}

    def _row(self, phase: Phase, answers: Sequence[Wait], looks: Sequence[Wait]) -> dict[str, Any]:
        ours = [[wait for wait in waits if phase.has(wait)] for waits in (answers, looks)]
        return {
            "name": phase.name,
            "seconds": round(phase.until - phase.since, 1),
            "answers": len(ours[0]),
            "refused": sum(wait.refused for wait in ours[0]),
            "ttft_ms": _percentiles(wait.seconds for wait in ours[0]),
            "status_ms": _percentiles(wait.seconds for wait in ours[1]),
        }


@contextmanager
def _other_work(count: int) -> Iterator[None]:
    """So many processes that only count, until the end of the context."""
    parent = os.getpid()
    counting = f"import os\nwhile os.getppid() == {parent}: sum(range(100_000))"
    workers = [subprocess.Popen([sys.executable, "-c", counting]) for _ in range(count)]
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _percentiles(seconds: Iterator[float] | Sequence[float]) -> dict[str, float]:
    """In milliseconds; all 0 where nobody waited."""
    values = np.array([*seconds] or [0.0]) * 1e3
    return {name: round(float(np.percentile(values, q)), 1) for name, q in (("p50", 50), ("p99", 99), ("max", 100))}


def run(options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """The baseline, then the load with all its trials."""
    results, fingerprint = [], bytes.fromhex(VideoLM.load(ModelConfig()).fingerprint)[:16]
    for streams, trials in ((1, ["ask"]), (options.streams, _trials(options))):
        with tempfile.TemporaryDirectory() as folder:
            results.append(Load(options, streams, Path(folder), fingerprint, progress).run(trials))
    baseline, result = results
    return {**result, "baseline": baseline}


def _trials(options: argparse.Namespace) -> list[str]:
    return ["ask"] + [name for name in ("beside", "clients", "hostile") if getattr(options, _COUNTS[name])]


_COUNTS = {"beside": "beside", "clients": "clients", "hostile": "messages"}


def main() -> None:
    """Prints the table, or JSON; exit code 1 where something was lost, or a client got no reply."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--askers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0, help="of asking, and of asking beside other work")
    parser.add_argument("--fps", type=float, default=0.5, help="of each stream")
    parser.add_argument("--beside", type=int, default=16, help="processes that count; 0 leaves this out")
    parser.add_argument("--clients", type=int, default=2000, help="that connect at once; 0 leaves this out")
    parser.add_argument("--messages", type=int, default=20_000, help="that are hostile; 0 leaves this out")
    parser.add_argument("--threads", type=int, default=1, help="model.threads")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # our own clients take two files each
    with Progress(console=Console(stderr=True), transient=True, disable=options.json) as progress:
        result = run(options, progress)
    if options.json:
        print(json.dumps(result))
    else:
        print_table(result, Console(width=None if sys.stdout.isatty() else 140))
    sys.exit(1 if result["lost"] or result["ids_twice"] or result["clients_without_reply"] else 0)


def print_table(result: dict[str, Any], out: Console) -> None:
    """Who waited how long, for people."""
    table = Table(
        "", "answers", "first words, ms: p50", "p99", "longest", "status, ms: p50", "p99", "longest", box=None
    )
    named = [(f"one stream, {row['name']}", row) for row in result["baseline"]["phases"]]
    named += [(f"{result['streams']} streams, {row['name']}", row) for row in result["phases"]]
    for name, row in named:
        figures = [str(row[what][q]) for what in ("ttft_ms", "status_ms") for q in ("p50", "p99", "max")]
        table.add_row(name, f"{row['answers']}, {row['refused']} refused", *figures)
    out.print(table)
    clients = result["clients_ms"]
    out.print(
        f"many clients at once: {clients['p50']} ms, p99 {clients['p99']}, "
        f"{result['clients_without_reply']} without a reply\n"
        f"longest wait {result['longest_wait_s']} s (target {LONGEST_SECONDS:g}); "
        f"status p99 {result['status_ms']['p99']} ms (target {STATUS_MS:g})\n"
        f"lost: {result['blocks_lost']} of {result['durable']} durable blocks, {result['frames_lost']} frames; "
        f"ids twice {result['ids_twice']} (target 0)\n"
        f"all streams showed frames after {result['start_s']} s; {result['restarts']} restarts, {result['gaps']} gaps, "
        f"{result['dropped']} frames dropped by cameras, {result['failed']} requests failed"
    )
    for error in result["errors"]:
        out.print(f"[red]{error}[/]", soft_wrap=True)


if __name__ == "__main__":
    main()
