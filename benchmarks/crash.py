"""Whether killing a daemon again and again loses what it called durable, or changes what a question recalls.

A real daemon watches the rendered yard by the clock and commits all the time. SIGKILL comes while it starts, at any
moment, as a commit writes, while it forgets, or while it packs a past day anew. Then the store is read, value by value;
then the daemon starts again, and is asked the same questions: some about a stream that has ended, where the same blocks
must win, and some about a few seconds of the other, where each block of that time must come back. The ended stream's
first day fades; for every kill in the midst of that it is put back as it was before.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any, NamedTuple

import crc32c
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from longwatch.clients import Client
from longwatch.clients.errors import ClientError
from longwatch.daemon.demo import free_ports, running_daemon
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.daemon.protocol import StatusReply, StreamStatus
from longwatch.memory.block import BlockInfo
from longwatch.memory.errors import StorageError
from longwatch.memory.folder import day_files, take_folder
from longwatch.memory.partition import Partition
from longwatch.memory.record import read_record
from longwatch.memory.settings import MemoryConfig

MOMENTS = ("forget", "commit", "any", "start", "fade")
QUESTIONS = ("did a red car appear?", "what happened?", "when did the blue van come?", "what was there at 23:58:30?")
FADED_BY = "ecsq1"
SPAN_BLOCKS, SPANS_ASKED = 10, 2
OLD_BLOCKS = 64  # more than stand in the window
FORGOTTEN_AT_ONCE = 3
_CONFIG = """
[model]
threads = 1
[memory]
folder = "{folder}/store"
commit_seconds = 0.05
keep_days = 0
fade = [{{ days = 0, codec = "ecsq1", tokens = 0.5 }}]
[server]
address = "tcp://127.0.0.1:{port}"
events_address = "tcp://127.0.0.1:{events_port}"
[log]
level = "warning"
[streams.past]
url = "scene://?seed=5&start=2026-03-02T23:56:00&minutes=6&busy=0.6"
pace = "fast"
[streams.yard]
url = "scene://?seed=3&busy=0.6"
fps = 15
gate_levels = 0
"""


class Found(NamedTuple):
    """A block that is whole on the disk, and a digest of all its values."""

    info: BlockInfo
    digest: int


class Ledger:
    """What the daemon promised of the stream `yard`, held against what its store holds after each kill."""

    def __init__(self, folder: Path, fingerprint: bytes) -> None:
        self._folder, self._fingerprint = folder, fingerprint
        self.durable_id = 0  # the highest that the daemon has told
        self.found: dict[int, Found] = {}
        self.lost: dict[int, str] = {}
        self.forgotten: set[int] = set()
        self.forgetting: set[int] = set()  # they may be gone at the next look, all of them or none
        self.half_forgotten = self.cut_short = 0

    def tell(self, status: StatusReply) -> None:
        """Notes what the daemon calls durable."""
        self.durable_id = max(self.durable_id, *(s.durable_id for s in status.streams if s.name == "yard"))

    def examine(self) -> None:
        """Reads every value of every day while no daemon runs."""
        lock = take_folder(self._folder)  # which proves that no daemon is left
        self.cut_short += any(fresh.exists() for _, fresh in self.files())
        there = {i: block for file, _ in self.files() for i, block in self._read(file.parent).items()}
        os.close(lock)
        gone = self.forgetting - there.keys()
        self.half_forgotten += 0 < len(gone) < len(self.forgetting)
        self.forgotten |= gone
        self.forgetting = set()
        for block_id in set(range(1, self.durable_id + 1)) - self.forgotten - there.keys():
            self.lost.setdefault(block_id, "is not there, or a value of it cannot be read")
        for block_id, before in self.found.items():
            now = there.get(block_id, before)
            if block_id <= self.durable_id and (now.digest != before.digest or now.info != before.info):
                self.lost.setdefault(block_id, f"is another: {now}, and was {before}")
        if back := self.forgotten & there.keys():
            self.lost.update(dict.fromkeys(back, "was forgotten, and is there again"))
        self.found = there

    def old(self) -> list[BlockInfo]:
        """Durable blocks that have left the window, in order."""
        return [block.info for i, block in sorted(self.found.items()) if i <= self.durable_id][:-OLD_BLOCKS]

    def files(self) -> list[tuple[Path, Path]]:
        """Each day's file, and where a forgetting writes it anew; of the stream `yard`."""
        return [(file, file.parent / "fresh") for file in day_files(self._folder) if file.parts[-3] == "yard"]

    def _read(self, day: Path) -> dict[int, Found]:
        """A day's blocks, as far as they are whole. New ones are unpacked too."""
        partition, found = Partition(day, MemoryConfig().map_bytes), {}
        signatures = {info.block_id: vectors for info, vectors in partition.signatures(lambda block_id, exc: None)}
        scales = partition.scales()
        for block_id in partition.ids():
            try:
                record, picture, info = (
                    read(block_id) for read in (partition.record, partition.picture, partition.info)
                )
                if block_id not in self.found:
                    read_record(record, self._fingerprint, f"block {block_id}", scales.get).unpack()
                values = (record, picture, signatures[block_id].numpy().tobytes())
            except (StorageError, KeyError):
                continue
            digest = 0
            for value in values:
                digest = crc32c.crc32c(value, digest)
            found[block_id] = Found(info, digest)
        partition.close()
        return found


class PastDay:
    """The day of the stream `past` that fades: before, after, and nothing between."""

    def __init__(self, folder: Path, fingerprint: bytes) -> None:
        self.folder, self._fingerprint = folder / "past" / "2026-03-02", fingerprint
        self._before = b""
        self._ids: list[int] = []

    def keep(self) -> None:
        """Remembers the day as it is before it fades, while no daemon runs."""
        codecs, self._ids = self._read()
        assert FADED_BY not in codecs, "the day had faded already"
        self._before = (self.folder / "data.mdb").read_bytes()

    def put_back(self) -> None:
        """As it was before, while no daemon runs."""
        (self.folder / "data.mdb").write_bytes(self._before)
        (self.folder / "index").unlink(missing_ok=True)

    @property
    def fading(self) -> bool:
        """Whether a file of its own is being written."""
        return (self.folder / "fresh").exists()

    @property
    def faded(self) -> bool:
        """Whether it takes less than before, and so is done."""
        return (self.folder / "data.mdb").stat().st_size < len(self._before) and not self.fading

    def trouble(self) -> str:
        """What is wrong with it while no daemon runs, if anything."""
        codecs, ids = self._read()
        if ids != self._ids:
            return f"of {len(self._ids)} blocks {len(ids)} are there"
        return f"is packed with {sorted(codecs)}" if FADED_BY in codecs and len(codecs) > 1 else ""

    def _read(self) -> tuple[set[str], list[int]]:
        """Which codecs its blocks have, every one of which is unpacked, and their ids."""
        partition = Partition(self.folder, MemoryConfig().map_bytes)
        scales, ids, codecs = partition.scales(), partition.ids(), set()
        for block_id in ids:
            record = read_record(partition.record(block_id), self._fingerprint, f"block {block_id}", scales.get)
            record.unpack()
            codecs.add(record.codec.name)
        partition.close()
        return codecs, ids


class Life:
    """A life of the daemon: it starts, is asked what was asked before, watches, and is killed.

    Args:
        recalled: what each question about the past brought back when it was first asked.
    """

    def __init__(
        self, folder: Path, ledger: Ledger, past: PastDay, recalled: dict[str, list[int]], rng: random.Random
    ) -> None:
        self._folder, self._ledger, self._past, self._recalled, self._rng = folder, ledger, past, recalled, rng
        self.asked, self.changed = 0, list[str]()
        self._forgetting: threading.Thread | None = None

    def live(self, moment: str) -> None:
        """From start to SIGKILL, at one of the `MOMENTS`."""
        port, events_port = free_ports(2)
        config = _CONFIG.format(folder=self._folder, port=port, events_port=events_port)
        address = f"tcp://127.0.0.1:{port}"
        with running_daemon(config, self._folder) as daemon, Client(address) as client:
            if moment == "start":
                time.sleep(self._rng.uniform(0, 6))
            elif moment == "first":
                self._wait(client, daemon, lambda past: past.state == "ended" and past.durable_id == past.blocks)
            elif moment == "fade":
                self._wait(client, daemon, lambda past: self._past.fading or self._past.faded)
                time.sleep(self._rng.uniform(0, 0.3))
            else:
                self._wait(client, daemon, lambda past: self._past.faded)
                self._ask(client)
                self._watch(client, self._rng.uniform(0.1, 1.5))
                if moment == "commit":  # a file has been written to, and the commit that does it is not at its end
                    files = [file for file, _ in self._ledger.files()]
                    before = [file.stat().st_mtime_ns for file in files]
                    _await(lambda: before != [file.stat().st_mtime_ns for file in files])
                elif moment == "forget":
                    self._forget(address)
                    _await(lambda: any(fresh.exists() for _, fresh in self._ledger.files()))
                    time.sleep(self._rng.uniform(0, 0.05))
            daemon.kill()
            daemon.wait()
            if self._forgetting is not None:
                self._forgetting.join()

    def _wait(self, client: Client, daemon: Popen[bytes], until: Callable[[StreamStatus], bool]) -> None:
        """Until the daemon answers, and something is so of the past."""
        while True:
            if daemon.poll() is not None:
                raise SystemExit(f"the daemon did not start: {(self._folder / 'daemon.log').read_text()[-2000:]}")
            with contextlib.suppress(ClientError):
                past, _ = client.status().streams
                if until(past):
                    return
            time.sleep(0.05)

    def _watch(self, client: Client, seconds: float) -> None:
        """Hears what becomes durable."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._ledger.tell(client.status())
            time.sleep(0.01)

    def _ask(self, client: Client) -> None:
        for question in QUESTIONS:
            recalled = client.ask(question, stream="past", pictures=False).recalled
            self._count(question, recalled, self._recalled.setdefault(question, recalled))
        old = self._ledger.old()
        for _ in range(SPANS_ASKED if len(old) > SPAN_BLOCKS else 0):
            since_ns, until_ns, infos = _some(old, SPAN_BLOCKS, self._rng)
            end = client.ask("what happened?", stream="yard", since_ns=since_ns, until_ns=until_ns, pictures=False)
            self._count(f"from {since_ns} to {until_ns}", end.recalled, [info.block_id for info in infos])

    def _count(self, question: str, recalled: list[int], before: list[int]) -> None:
        self.asked += 1
        if recalled != before:
            self.changed.append(f"{question}: {recalled}, and was {before}")

    def _forget(self, address: str) -> None:
        """Has some old blocks forgotten, and does not wait for the end."""
        old = self._ledger.old()
        if len(old) <= FORGOTTEN_AT_ONCE:
            return
        since_ns, until_ns, infos = _some(old, FORGOTTEN_AT_ONCE, self._rng)
        self._ledger.forgetting = {info.block_id for info in infos}

        def forget() -> None:
            with Client(address, timeout_seconds=1) as other, contextlib.suppress(ClientError):
                other.forget("yard", since_ns, until_ns)

        self._forgetting = threading.Thread(target=forget)
        self._forgetting.start()


def _await(what: Callable[[], bool]) -> None:
    """Looks without rest until something is so, for two seconds at most."""
    until = time.monotonic() + 2
    while time.monotonic() < until and not what():
        pass


def _some(old: list[BlockInfo], count: int, rng: random.Random) -> tuple[int, int, list[BlockInfo]]:
    """The time of so many blocks in a row, and all that it touches: a gap before the first ends where that begins."""
    first = rng.randrange(len(old) - count)
    since_ns, until_ns = old[first].start_ns, old[first + count - 1].end_ns
    return since_ns, until_ns, [info for info in old if info.end_ns >= since_ns and info.start_ns <= until_ns]


def run(kills: int, seed: int, folder: Path, told: Callable[[], None]) -> dict[str, Any]:
    """Lives and kills; the first life sees the past and is not counted."""
    began, rng = time.monotonic(), random.Random(seed)
    fingerprint = bytes.fromhex(VideoLM.load(ModelConfig()).fingerprint)[:16]
    ledger, past = Ledger(folder / "store", fingerprint), PastDay(folder / "store", fingerprint)
    recalled: dict[str, list[int]] = {}
    asked = fadings_cut_short = 0
    changed, half_faded = list[str](), list[str]()
    moments: Counter[str] = Counter()
    for number in range(-1, kills):
        life = Life(folder, ledger, past, recalled, rng)
        moment = MOMENTS[number % len(MOMENTS)] if number >= 0 else "first"
        if moment == "fade":
            past.put_back()
        life.live(moment)
        ledger.examine()
        if number < 0:
            past.keep()
        fadings_cut_short += past.fading
        if trouble := past.trouble():
            half_faded.append(trouble)
        asked, changed = asked + life.asked, changed + life.changed
        if number >= 0:
            moments[moment] += 1
            told()
    return {
        "kills": kills,
        "durable_lost": len(ledger.lost),
        "recall_changed": len(changed),
        "half_forgotten": ledger.half_forgotten,
        "half_faded": half_faded,
        "durable": ledger.durable_id - len(ledger.forgotten),
        "forgotten": len(ledger.forgotten),
        "forgettings_cut_short": ledger.cut_short,
        "fadings_cut_short": fadings_cut_short,
        "asked": asked,
        "moments": dict(moments),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "changed": changed,
        "lost": {str(block_id): why for block_id, why in ledger.lost.items()},
    }


def main() -> None:
    """Prints the table, or JSON; exit code 1 where something was lost or changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        Progress(console=Console(stderr=True), transient=True, disable=options.json) as progress,
    ):
        task = progress.add_task("killing", total=options.kills)
        result = run(options.kills, options.seed, Path(folder), lambda: progress.advance(task))
    if options.json:
        print(json.dumps(result))
    else:
        print_table(result, Console())
    wrong = ("durable_lost", "recall_changed", "half_forgotten", "half_faded")
    sys.exit(1 if any(result[name] for name in wrong) else 0)


def print_table(result: dict[str, Any], out: Console) -> None:
    """What was lost, for people."""
    table = Table("", "of", "", "target", box=None)
    table.add_row("durable blocks lost", str(result["durable"]), str(result["durable_lost"]), "0")
    table.add_row("recalled otherwise", f"{result['asked']} questions", str(result["recall_changed"]), "0")
    cut_short = f"{result['forgettings_cut_short']} cut short"
    table.add_row("forgotten by half", cut_short, str(result["half_forgotten"]), "0")
    cut_short = f"{result['fadings_cut_short']} cut short"
    table.add_row("faded by half", cut_short, str(len(result["half_faded"])), "0")
    when = ", ".join(f"{count} {moment}" for moment, count in result["moments"].items())
    out.print(f"{result['kills']} kills ({when}) in {result['minutes']} minutes")
    out.print(table)
    for change in result["changed"]:
        out.print(change, soft_wrap=True)
    for block_id, why in result["lost"].items():
        out.print(f"block {block_id} {why}", soft_wrap=True)


if __name__ == "__main__":
    main()
