"""Whether a day of watching leaves the daemon as large as it was: memory, open files, threads, and what LMDB has free.

A real daemon watches the rendered yard as fast as it encodes, so that a day of its time passes in minutes. It is asked
now and then, a midnight passes, and the day before is dropped once the disk budget is full. Figures are slopes over
hours of the stream's time, after the first hour (in a short run, after the first third). `own` is memory that belongs
to the daemon and its children alone (anonymous pages, by the kernel's `smaps_rollup`); `mapped` are pages of files,
LMDB's and the index's above all, which the system can have back whenever it wants. The index takes so many bytes for
each block of a day that has no index file yet: this grows by design until midnight, and has a figure of its own;
`rest` is `own` without it, and what the target is for.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import lmdb
import numpy as np
import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from longwatch.clients import Client
from longwatch.clients.errors import ClientError
from longwatch.daemon.calibration.calibration import load_heads
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.daemon.protocol import StatusReply
from longwatch.demo.process import free_ports, running_daemon
from longwatch.retrieval.index.day import SPAN_ROWS
from longwatch.retrieval.retrievers.choice import make_retriever
from longwatch.retrieval.settings import RetrievalConfig
from longwatch.retrieval.signature import SignatureLayout

MIDNIGHT_NS = 1_772_496_000_000_000_000  # 2026-03-03 00:00 UTC
HOUR_NS = 3_600_000_000_000
DISK_BYTES_PER_HOUR = 6 << 20  # less than an hour of the yard takes, so that the day before midnight is dropped
MOST_MIB_PER_HOUR = 1.0
LOOK_SECONDS, SAMPLES, ASK_EVERY, STILL_SECONDS = 0.2, 500, 10, 120.0
QUESTIONS = ("did a red car appear?", "is the door open now?", "what happened in the last ten minutes?")
_MIB = 1 << 20
_CONFIG = """
[memory]
folder = "{folder}/store"
ram_bytes = {ram_bytes}
disk_bytes = {disk_bytes}
keep_days = 0
notice_seconds = 0
[server]
address = "tcp://127.0.0.1:{port}"
events_address = "tcp://127.0.0.1:{events_port}"
[log]
level = "info"
[streams.yard]
url = "scene://?seed=3&start={start}&minutes={minutes}&busy=0.3"
pace = "fast"
"""


class Sample(NamedTuple):
    """The daemon and its children at a moment of the stream's time; `blocks` are all that there ever were."""

    hour: float
    mapped_mib: float
    own_mib: float
    index_mib: float
    rest_mib: float
    files: float
    threads: float
    free_pages: float
    blocks: float


class Watch:
    """Samples a daemon, asks it now and then, and notes what its status should not say."""

    def __init__(self, client: Client, process: psutil.Process, folder: Path, start_ns: int) -> None:
        self._client, self._process, self._folder, self._start_ns = client, process, folder, start_ns
        self.index_bytes_per_block = index_bytes_per_block()
        self.samples: list[Sample] = []
        self.days: set[str] = set()
        self.faults: dict[str, str] = {}
        self.answer_ms: list[float] = []
        self.ram_full_at_hour: float | None = None
        self._durable_id = self._last_ns = 0
        self._moved_at = time.monotonic()

    def until_the_end(self, hours: float, ram_bytes: int) -> Iterator[float]:
        """Samples until the stream has ended and the old day is dropped; yields the hour of the stream's time."""
        ended_at = 0.0
        while True:
            status = self._client.status()
            (stream,) = status.streams
            hour = (stream.last_ns - self._start_ns) / HOUR_NS if stream.last_ns else 0.0
            self._check(status)
            self.days.update(folder.name for folder in self.day_folders())
            if self.ram_full_at_hour is None and status.ram_bytes > 0.9 * ram_bytes:
                self.ram_full_at_hour = round(hour, 2)
            children = self._process.children(recursive=True)
            if children and hour >= len(self.samples) * hours / SAMPLES:
                self.samples.append(self._sample(hour, stream.durable_id, children))
                if len(self.samples) % ASK_EVERY == 0:
                    self._ask(hour)
            if stream.state == "ended" and not status.queued_blocks:
                ended_at = ended_at or time.monotonic()
                # Retention looks once a minute, which may be long after the last frame.
                if len(self.day_folders()) == 1 or time.monotonic() - ended_at > 90:
                    return
            yield hour
            time.sleep(LOOK_SECONDS)

    def _check(self, status: StatusReply) -> None:
        (stream,) = status.streams
        now = time.monotonic()
        if stream.last_ns > self._last_ns or stream.state == "ended":
            self._moved_at = now
        for fault, found in {
            "state": stream.state not in ("starting", "watching", "ended"),
            "error": bool(stream.last_error or status.store_error),
            "threads": not all(status.threads.values()),
            "restarts": bool(status.restarts or stream.restarts),
            "damaged": bool(status.damaged_blocks),
            "gaps": bool(stream.gaps),
            "dropped frames": bool(stream.dropped),
            "blocks went back": stream.durable_id < self._durable_id,
            "time went back": stream.last_ns < self._last_ns,
            "time stood still": now - self._moved_at > STILL_SECONDS,
        }.items():
            if found:
                self.faults.setdefault(fault, str(status))
        self._durable_id, self._last_ns = stream.durable_id, stream.last_ns

    def _sample(self, hour: float, blocks: int, children: list[psutil.Process]) -> Sample:
        mapped = own = files = threads = 0
        for process in (self._process, *children):
            try:
                memory = memory_of(process.pid)
                files, threads = files + process.num_fds(), threads + process.num_threads()
            except (psutil.NoSuchProcess, OSError):  # it has just ended
                continue
            own, mapped = (
                own + memory["Pss_Anon"] + memory["SwapPss"],
                mapped + memory["Pss_File"] + memory["Pss_Shmem"],
            )
        days = [(folder, self._pages(folder)) for folder in self.day_folders()]
        in_memory = sum(blocks for folder, (blocks, _) in days if not (folder / "index").exists())
        own_mib, index_mib = own / _MIB, in_memory * self.index_bytes_per_block / _MIB
        free = days[-1][1][1] if days else 0
        return Sample(hour, mapped / _MIB, own_mib, index_mib, own_mib - index_mib, files, threads, free, blocks)

    def _ask(self, hour: float) -> None:
        end = self._client.ask(QUESTIONS[len(self.answer_ms) % len(QUESTIONS)], max_tokens=16, pictures=False)
        self.answer_ms.append(end.total_ms)
        if not end.text or not end.evidence:
            self.faults.setdefault("answer", f"hour {hour:.2f}: {end}")

    def day_folders(self) -> list[Path]:
        """The days on disk, oldest first."""
        return sorted((self._folder / "store" / "yard").glob("*-*-*"))

    def _pages(self, folder: Path) -> tuple[int, int]:
        """A day's blocks, and the pages of its file that hold nothing."""
        try:
            with lmdb.open(str(folder), readonly=True, max_dbs=16) as env, env.begin() as txn:
                tables = {bytes(name): env.open_db(bytes(name), txn=txn, create=False) for name, _ in txn.cursor()}
                stats = {name: txn.stat(table) for name, table in tables.items()}
                used = sum(
                    s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"] for s in [txn.stat(), *stats.values()]
                )
                return int(stats[b"spans"]["entries"]), int(env.info()["last_pgno"]) + 1 - 2 - used
        except (lmdb.Error, KeyError):  # just being made, or dropped
            return 0, 0


def memory_of(pid: int) -> dict[str, int]:
    """Bytes of each kind of memory of a process, as the kernel adds them up: a page that is shared counts in parts."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(size.split()[0]) * 1024 for name, size in (line.split(":") for line in lines)}


def index_bytes_per_block() -> int:
    """What a block costs in the index's memory: its row, and its vectors in 16 bits."""
    model = VideoLM.load(ModelConfig())
    layout = SignatureLayout(load_heads("embedded", model.fingerprint), text_tokens=model.prompt.clock_tokens)
    retriever = make_retriever(RetrievalConfig(), layout, model.geometry, lambda _: model.new_window().keys)
    return int(SPAN_ROWS.itemsize) + sum(rows * dim * 2 for rows, dim in retriever.index.shapes)


def slope(samples: list[Sample], name: str) -> float:
    """How much a figure rises in an hour of the stream's time, by least squares."""
    values = [getattr(sample, name) for sample in samples]
    return round(float(np.polyfit([sample.hour for sample in samples], values, 1)[0]), 3)


def run(options: argparse.Namespace, progress: Progress, folder: Path) -> dict[str, Any]:
    """Watches to the end, and sums up."""
    start_ns = MIDNIGHT_NS - int(options.hours * HOUR_NS / 4)
    port, events_port = free_ports(2)
    config = _CONFIG.format(
        folder=folder,
        ram_bytes=options.ram_bytes,
        disk_bytes=int(options.hours * DISK_BYTES_PER_HOUR),
        port=port,
        events_port=events_port,
        start=datetime.fromtimestamp(start_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        minutes=options.hours * 60,
    )
    began = time.monotonic()
    with (
        Client(f"tcp://127.0.0.1:{port}", timeout_seconds=120) as client,
        running_daemon(config, folder) as daemon,
    ):
        task = progress.add_task("starting", total=options.hours)
        while True:
            if daemon.poll() is not None:
                raise SystemExit(f"the daemon did not start: {(folder / 'daemon.log').read_text()[-2000:]}")
            try:
                client.status()
                break
            except ClientError:
                time.sleep(0.2)
        watch = Watch(client, psutil.Process(daemon.pid), folder, start_ns)
        for hour in watch.until_the_end(options.hours, options.ram_bytes):
            progress.update(task, completed=hour, description=f"watching, {hour:.1f} of {options.hours:g} h")
        left = len(watch.day_folders())
    if daemon.returncode:
        watch.faults["exit code"] = str(daemon.returncode)
    for line in (folder / "daemon.log").read_text().splitlines():
        if "[error" in line or "[warning" in line:
            watch.faults.setdefault("log", line)
    settled = [sample for sample in watch.samples if sample.hour >= min(1.0, options.hours / 3)]
    blocks_seen = watch.samples[-1].blocks
    by_hour = {int(sample.hour): sample for sample in reversed(watch.samples)}
    slopes = {name: slope(settled, name) for name in Sample._fields[1:]}
    return {
        "hours": options.hours,
        "wall_minutes": round((time.monotonic() - began) / 60, 1),
        "mapped_mib_per_hour": slopes["mapped_mib"],
        "own_mib_per_hour": slopes["own_mib"],
        "index_mib_per_hour": slopes["index_mib"],
        "rest_mib_per_hour": slopes["rest_mib"],
        "index_bytes_per_block": watch.index_bytes_per_block,
        "files_per_hour": slopes["files"],
        "threads_per_hour": slopes["threads"],
        "free_pages_per_hour": slopes["free_pages"],
        "blocks_per_hour": slopes["blocks"],
        "blocks": blocks_seen,
        "days": len(watch.days),
        "days_dropped": len(watch.days) - left,
        "ram_full_at_hour": watch.ram_full_at_hour,
        "questions": len(watch.answer_ms),
        "answer_ms": round(float(np.median(watch.answer_ms)), 1) if watch.answer_ms else None,
        "faults": watch.faults,
        "first": dict(settled[0]._asdict()),
        "last": dict(settled[-1]._asdict()),
        "samples": len(watch.samples),
        "by_hour": [dict(sample._asdict()) for sample in by_hour.values()],
    }


def main() -> None:
    """Prints the table, or JSON; exit code 1 where the daemon's status was not as it should be throughout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0, help="of the stream's time")
    parser.add_argument("--ram-bytes", type=int, default=2 << 20, help="memory.ram_bytes; to be full within an hour")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        Progress(console=Console(stderr=True), transient=True, disable=options.json) as progress,
    ):
        result = run(options, progress, Path(folder))
    if options.json:
        print(json.dumps(result))
    else:
        print_table(result, Console(width=None if sys.stdout.isatty() else 140))
    sys.exit(1 if result["faults"] else 0)


def print_table(result: dict[str, Any], out: Console) -> None:
    """The slopes for people."""
    table = Table("", "per hour", "at first", "at last", "target per hour", box=None)
    for name in Sample._fields[1:]:
        first, last = (round(result[when][name], 1) for when in ("first", "last"))
        target = f"{MOST_MIB_PER_HOUR:g}" if name == "rest_mib" else ""
        table.add_row(name, str(result[f"{name}_per_hour"]), str(first), str(last), target)
    out.print(
        f"{result['hours']:g} h of the stream in {result['wall_minutes']} minutes: {result['blocks']:.0f} blocks, "
        f"{result['days']} days of which {result['days_dropped']} dropped, {result['questions']} questions "
        f"(median {result['answer_ms']} ms); memory.ram_bytes full after {result['ram_full_at_hour'] or 0:.2f} h; "
        f"{result['index_bytes_per_block']} bytes a block in the index"
    )
    out.print(table)
    for fault, status in result["faults"].items():
        out.print(f"[red]{fault}[/] {status}", soft_wrap=True)


if __name__ == "__main__":
    main()
