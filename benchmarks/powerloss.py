"""Whether a loss of power takes what the daemon called durable, or brings back what it forgot.

A real daemon starts on an empty folder, watches, lets a day fade, makes its index file, forgets some blocks, the end of
a recording and all of one, and drops a day, while strace writes down all that it does to its files. Then the disk is
made again as power that fails at some point could have left it: what was synced is there, and of all else nothing,
everything, what came first or any part, the last write perhaps torn. A store is opened on each such disk and must hold
every block that was durable by then, none that was forgotten, and no day of which a half is packed anew; it must not
give an id again that was announced. A kill leaves what `all` leaves.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from disk import MANNERS, Disk
from ledger import Key, Ledger, day_ago, read_blocks
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from syscalls import Call, read_calls, tracer

from longwatch.clients import Client
from longwatch.clients.errors import ClientError
from longwatch.daemon.calibration.calibration import load_heads
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.daemon.protocol import StatusReply
from longwatch.demo.process import free_ports
from longwatch.memory.errors import StorageError
from longwatch.memory.folder import day_files
from longwatch.memory.partition import Partition
from longwatch.memory.settings import MemoryConfig
from longwatch.memory.store import Store
from longwatch.retrieval.errors import UnfitIndexFile
from longwatch.retrieval.index.dayfile import read_day
from longwatch.retrieval.retrievers.choice import make_retriever
from longwatch.retrieval.settings import RetrievalConfig
from longwatch.retrieval.signature import SignatureLayout

PAST_AGE, EXTRA_AGE = 1000, 900  # days
FADED_BY = "ecsq1"
PATIENCE_SECONDS, FORGOTTEN_AT_ONCE = 180.0, 3
SHOWN = 4  # of each kind; --json tells all
_CONFIG = """
[model]
threads = 1
[memory]
folder = "{folder}/store"
commit_seconds = 0.2
keep_days = 0
{memory}
[server]
address = "tcp://127.0.0.1:{port}"
events_address = "tcp://127.0.0.1:{events_port}"
streams_from = ["scene"]
[log]
level = "warning"
[streams.yard]
url = "scene://?seed=3&busy=0.6"
fps = 5
gate_levels = 0
"""
_PAST = """
[streams.past]
url = "scene://?seed=5&start={day}T23:59:40&minutes=0.7&busy=0.6"
pace = "fast"
gate_levels = 0
"""


class Erasure(NamedTuple):
    """Blocks that go together, when that was begun, and when the daemon said that it was done; 0 where it did not."""

    keys: frozenset[Key]
    begun: float
    done: float = 0.0


class Record:
    """When each block was announced and called durable, and what was erased; by the clock that the trace has too."""

    def __init__(self) -> None:
        self.announced: dict[Key, float] = {}
        self.durable: dict[Key, float] = {}
        self.erasures: list[Erasure] = []

    def note(self, ledger: Ledger) -> None:
        """What is new in the ledger has been known since now at the latest."""
        now = time.time()
        for key in ledger.announced.keys() - self.announced.keys():
            self.announced[key] = now
        for key in ledger.promised - self.durable.keys():
            self.durable[key] = now

    def durable_at(self, moment: float) -> set[Key]:
        """The blocks that the daemon had called durable by then."""
        return {key for key, since in self.durable.items() if since <= moment}

    def highest_at(self, moment: float) -> dict[str, int]:
        """The highest id that was announced by then, of each stream."""
        highest: dict[str, int] = {}
        for (stream, block_id), since in self.announced.items():
            if since <= moment:
                highest[stream] = max(block_id, highest.get(stream, 0))
        return highest


class Sitting:
    """A life of the daemon under strace, from its start to its end."""

    def __init__(self, folder: Path, memory: str, streams: str, trace: Path, ledger: Ledger, record: Record) -> None:
        self._folder, self._trace, self._ledger, self._record = folder, trace, ledger, record
        port, events_port = free_ports(2)
        self._address = f"tcp://127.0.0.1:{port}"
        self._config = folder.parent / "config.toml"
        text = _CONFIG.format(folder=folder, memory=memory, port=port, events_port=events_port)
        self._config.write_text(text + streams)

    @contextmanager
    def lived(self) -> Iterator[Client]:
        """The daemon runs, and is stopped at the end."""
        self._ledger.begin_life()
        command = [*tracer(self._trace), sys.executable, "-m", "longwatch.daemon.main", str(self._config)]
        self._log = self._folder.parent / "daemon.log"
        with (
            self._log.open("ab") as log,
            subprocess.Popen(command, stderr=log) as self._process,
            Client(self._address, timeout_seconds=60) as client,
        ):
            try:
                yield client
            finally:
                for daemon in psutil.Process(self._process.pid).children():
                    daemon.terminate()  # strace ends with it
                self._process.wait(timeout=60)

    def until(self, client: Client, holds: Callable[[StatusReply], bool]) -> StatusReply:
        """Hears the daemon until something is so of its status."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(ClientError):
                status = self._ledger.hear(client)
                self._record.note(self._ledger)
                if holds(status):
                    return status
            time.sleep(0.05)
        raise SystemExit(f"the daemon did not come so far: {self._log.read_text()[-2000:]}")

    def forget(self, client: Client, keys: Sequence[Key], since_ns: int | None, until_ns: int | None) -> None:
        """Has a time forgotten, and waits for the end of it."""
        begun = time.time()
        client.forget(keys[0][0], since_ns, until_ns)
        self._record.erasures.append(Erasure(frozenset(keys), begun, time.time()))


def live(folder: Path, ledger: Ledger, record: Record) -> list[Path]:
    """Three sittings on a folder that is not there yet. Returns their traces."""
    traces = [folder.parent / f"trace{number}" for number in range(3)]
    oldest = day_ago(PAST_AGE)
    past = folder / "store" / "past" / str(oldest) / "data.mdb"

    def sitting(number: int, memory: str) -> Sitting:
        return Sitting(folder, memory, _PAST.format(day=oldest), traces[number], ledger, record)

    watching = sitting(0, "")
    with watching.lived() as client:
        watching.until(client, lambda status: _ended(status, "past"))
        watching.until(client, lambda status: len(_of(ledger, "yard")) > 2 * FORGOTTEN_AT_ONCE)
        keys = _of(ledger, "yard")[1 : 1 + FORGOTTEN_AT_ONCE]
        watching.forget(client, keys, _start(ledger, keys[0]), _start(ledger, keys[-1]))
        _see_a_recording(watching, client, ledger, 0)
        tail = _of(ledger, "extra")[-10:]
        watching.forget(client, tail, _start(ledger, tail[0]), None)
        whole = [key for key in _of(ledger, "extra") if key not in tail]
        watching.forget(client, whole, None, None)
        client.remove_stream("extra")
        _see_a_recording(watching, client, ledger, 1)
    before = past.stat().st_size
    fading = sitting(1, f'fade = [{{ days = 0, codec = "{FADED_BY}", tokens = 0.5 }}]')
    with fading.lived() as client:  # as it starts, it makes an index file of the past day, and then packs this anew
        fading.until(client, lambda status: past.stat().st_size < before and not (past.parent / "fresh").exists())
    ledger.examine()
    record.erasures.append(Erasure(ledger.days_of("past")[str(oldest)], time.time()))
    limit = sum(ledger.content_bytes.values()) - ledger.content_bytes["past", str(oldest)] // 2
    dropping = sitting(2, f"content_bytes = {limit}\nlow_water = 1.0\nnotice_seconds = 0")
    with dropping.lived() as client:
        dropping.until(client, lambda status: not past.parent.exists())
        dropping.until(client, lambda status: ledger.heard_of("yard") > 10)
    return traces


def _see_a_recording(sitting: Sitting, client: Client, ledger: Ledger, number: int) -> None:
    """Adds the stream `extra`, and waits until all of it is durable."""
    day = day_ago(EXTRA_AGE - 2 * number)
    url = f"scene://?seed={100 + number}&start={day}T23:59:50&minutes=0.3&busy=0.9"
    client.add_stream("extra", url=url, pace="fast", fps=2.0, gate_levels=0.0)
    sitting.until(client, lambda status: _ended(status, "extra"))


def _ended(status: StatusReply, name: str) -> bool:
    return not status.queued_blocks and any(s.name == name and s.state == "ended" for s in status.streams)


def _of(ledger: Ledger, stream: str) -> list[Key]:
    """A stream's durable blocks in order."""
    return sorted(key for key in ledger.promised - ledger.gone if key[0] == stream)


def _start(ledger: Ledger, key: Key) -> int:
    return ledger.announced[key].start_ns


class Judge:
    """Opens a store on what a loss of power has left, and says what is wrong with it."""

    def __init__(self, record: Record, fingerprint: bytes, shapes: Sequence[tuple[int, int]]) -> None:
        self._record, self._fingerprint, self._shapes = record, fingerprint, shapes

    def judge(self, folder: Path, moment: float) -> Iterator[tuple[str, str]]:
        """(kind, sentence) of every fault.

        Args:
            moment: when the power failed.
        """
        try:
            store = Store(MemoryConfig(folder=str(folder)))
            ids = {stream: max(store.book.last_id(stream), store.last_id(stream)) for stream in self._streams()}
            store.close()
        except StorageError as exc:
            yield "refused", str(exc)
            return
        there = {}
        for file in day_files(folder):
            stream, day = file.parts[-3], file.parent
            blocks = read_blocks(day, self._fingerprint, lambda _: True)
            there |= {(stream, block_id): block for block_id, block in blocks.items()}
            codecs = {block.codec for block in blocks.values() if not block.info.gap}
            if FADED_BY in codecs and len(codecs) > 1:
                yield "half_faded", f"{stream} {day.name} is packed with {sorted(codecs)}"
            yield from self._judge_index(Partition(day, MemoryConfig().map_bytes))
        yield from self._judge_blocks(there.keys(), moment)
        for stream, highest in self._record.highest_at(moment).items():
            if ids[stream] < highest:
                yield "ids_twice", f"{stream}: id {highest} was announced, and those above {ids[stream]} are free"

    def _streams(self) -> set[str]:
        return {stream for stream, _ in self._record.announced}

    def _judge_blocks(self, there: Any, moment: float) -> Iterator[tuple[str, str]]:
        durable = self._record.durable_at(moment)
        begun = [erasure for erasure in self._record.erasures if erasure.begun <= moment]
        for erasure in begun:
            if 0 < erasure.done <= moment:
                if back := erasure.keys & there:
                    yield "back", f"{_names(back)}, forgotten {moment - erasure.done:.3f} s before"
                continue
            missing = (erasure.keys & durable) - there
            if missing and missing != erasure.keys & durable:
                yield "half_forgotten", f"{_names(missing)} are gone, the others not"
        kept = durable.difference(*(erasure.keys for erasure in begun))
        if lost := kept - there:
            age = moment - max(self._record.durable[key] for key in lost)
            yield "lost", f"{_names(lost)} of {len(kept)}, the newest durable for {age:.3f} s"

    def _judge_index(self, day: Partition) -> Iterator[tuple[str, str]]:
        if day.index_file.exists():
            with contextlib.suppress(UnfitIndexFile):
                ids = sorted(int(i) for i in read_day(day.index_file, day.version, self._shapes).blocks["block_id"])
                if ids != day.blocks.ids():
                    yield "index", f"{day.index_file} is taken, and names other blocks than the day has"
        day.file.close()


def _names(keys: Any) -> str:
    first = ", ".join(f"{stream} {block_id}" for stream, block_id in sorted(keys)[:3])
    return first if len(keys) <= 3 else f"{first} and {len(keys) - 3} more"


class Points(NamedTuple):
    """Where in a trace the power fails: after which calls."""

    calls: list[Call]
    chosen: set[int]

    @classmethod
    def of(cls, calls: list[Call], count: int, rng: random.Random) -> Points:
        """Half of them beside changes of names and syncs of folders, where there are so many; the others anywhere."""
        names = [i for i, call in enumerate(calls) if call.what in ("create", "mkdir", "rename", "remove")]
        beside = [i for i in {near for i in names for near in (i, i + 1)} if i < len(calls)]
        chosen = set(rng.sample(sorted(beside), min(len(beside), count // 2)))
        others = [i for i in range(len(calls)) if i not in chosen]
        return cls(calls, chosen | set(rng.sample(others, min(len(others), count - len(chosen)))))


def run(states: int, seed: int, progress: Progress) -> dict[str, Any]:
    """Lives once, and loses power again and again."""
    began, rng, record = time.monotonic(), random.Random(seed), Record()
    model = VideoLM.load(ModelConfig())
    fingerprint = bytes.fromhex(model.fingerprint)[:16]
    layout = SignatureLayout(load_heads("embedded", model.fingerprint), text_tokens=model.prompt.clock_tokens)
    retriever = make_retriever(RetrievalConfig(), layout, model.geometry, lambda _: model.new_window().keys)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "disk"
        folder.mkdir()
        task = progress.add_task("a life under strace", total=None)
        traces = live(folder, Ledger(folder / "store", fingerprint, "yard"), record)
        points = Points.of([c for trace in traces for c in read_calls(trace, folder)], states // len(MANNERS), rng)
        progress.update(task, description="losing power", total=len(points.chosen) * len(MANNERS), completed=0)
        judge = Judge(record, fingerprint, retriever.index.shapes)
        faults = list(_lose_power(folder, points, judge, rng, lambda: progress.advance(task)))
    kinds = Counter(kind for kind, _, _ in faults)
    return {
        "states": len(points.chosen) * len(MANNERS),
        "calls": len(points.calls),
        "durable": len(record.durable),
        "forgotten": sum(len(erasure.keys) for erasure in record.erasures if erasure.done),
        "violations": len(faults),
        "kinds": {kind: kinds[kind] for kind in KINDS},
        "manners": dict(Counter(f"{kind}: {manner}" for kind, manner, _ in faults)),
        "faults": [f"{kind} ({manner}) {why}" for kind, manner, why in faults],
        "minutes": round((time.monotonic() - began) / 60, 1),
    }


KINDS = ("lost", "back", "half_forgotten", "half_faded", "index", "ids_twice", "refused")


def _lose_power(
    folder: Path, points: Points, judge: Judge, rng: random.Random, told: Callable[[], None]
) -> Iterator[tuple[str, str, str]]:
    """(kind, manner, sentence) of every fault of every state."""
    disk = Disk(folder)
    for number, call in enumerate(points.calls):
        disk.apply(call)
        if number not in points.chosen:
            continue
        behind = points.calls[number + 1].time if number + 1 < len(points.calls) else call.time + 1
        for manner in MANNERS:
            with tempfile.TemporaryDirectory() as name:
                left = Path(name)
                disk.leave(left, manner, rng)
                place = f"after call {number}, {call.what} {Path(call.path).relative_to(folder)}"
                for kind, why in judge.judge(left / "store", behind):
                    yield kind, manner, f"{place}: {why}"
            told()
    with tempfile.TemporaryDirectory() as name:
        disk.leave(Path(name), "all", rng)
        if other := _differences(Path(name), folder):
            raise SystemExit(f"the disk was not made again as it is, so no state of it proves anything: {other[:3]}")


def _differences(one: Path, other: Path) -> list[str]:
    """The files that are not in both folders, or not the same there."""
    names = {str(file.relative_to(top)) for top in (one, other) for file in top.rglob("*")}
    return sorted(name for name in names if not _same(one / name, other / name))


def _same(one: Path, other: Path) -> bool:
    if one.is_dir() or other.is_dir():
        return one.is_dir() and other.is_dir()
    return one.exists() and other.exists() and one.read_bytes() == other.read_bytes()


def main() -> None:
    """Prints the table, or JSON; exit code 1 where anything is wrong in any state."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--states", type=int, default=600, help="in which the disk is looked at")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with Progress(console=Console(stderr=True), transient=True, disable=options.json) as progress:
        result = run(options.states, options.seed, progress)
    if options.json:
        print(json.dumps(result))
    else:
        print_table(result, Console())
    sys.exit(1 if result["violations"] else 0)


def print_table(result: dict[str, Any], out: Console) -> None:
    """What was wrong, for people."""
    out.print(
        f"{result['states']} states of the disk after {result['calls']} calls, {result['durable']} durable blocks and "
        f"{result['forgotten']} forgotten; {result['minutes']} minutes"
    )
    table = Table("", "states", "target", box=None)
    for kind in KINDS:
        table.add_row(kind.replace("_", " "), str(result["kinds"][kind]), "0")
    out.print(table)
    for manner, count in result["manners"].items():
        out.print(f"{count} {manner}")
    for kind in KINDS:
        for fault in [fault for fault in result["faults"] if fault.startswith(kind)][:SHOWN]:
            out.print(fault, soft_wrap=True)


if __name__ == "__main__":
    main()
