"""Whether killing a daemon again and again loses what it called durable, brings back what it forgot, gives an id twice,
or changes what a question recalls.

A real daemon watches the rendered yard by the clock and commits all the time. SIGKILL comes while it starts, at any
moment, as a commit writes, while it forgets, while it packs a past day anew or drops one, as a stream is removed and
another of its name is added, after the end of a recording is forgotten, or when the clock has jumped. Then the store is
read, value by value; then the daemon starts again, and is asked the same questions: some about a stream that has ended,
where the same blocks must win, and some about a few seconds of the other, where each block of that time must come back.
The ended stream's first day fades; for every kill in the midst of that it is put back as it was before.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from camera import serve_camera
from ledger import Erasure, Ledger, day_ago
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from shiftedclock import ShiftedClock

from longwatch.clients import Client
from longwatch.clients.errors import ClientError
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.daemon.protocol import StatusReply, StreamStatus
from longwatch.demo.process import free_ports, running_daemon
from longwatch.memory.block import BlockInfo
from longwatch.memory.partition import Partition
from longwatch.memory.record import read_record
from longwatch.memory.settings import MemoryConfig

MOMENTS = ("forget", "commit", "any", "start", "fade", "readd", "tail", "drop", "clock")
QUESTIONS = ("did a red car appear?", "what happened?", "when did the blue van come?", "what was there at 23:58:30?")
FADED_BY = "ecsq1"
SPAN_BLOCKS, SPANS_ASKED = 10, 2
OLD_BLOCKS = 64  # more than stand in the window
FORGOTTEN_AT_ONCE = 3
SHOWN = 10  # of each kind of fault; --json tells all
PAST_AGE, EXTRA_AGE = 1000, 900  # days; one day fades in a life, and that is the oldest
PATIENCE_SECONDS, DROP_SECONDS = 120.0, 20.0
JUMPS = (86_400, -3600, 10_800, -86_400)  # seconds
_CONFIG = """
[model]
threads = 1
[memory]
folder = "{folder}/store"
commit_seconds = 0.05
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
fps = 15
gate_levels = 0
"""
_FADE = f'fade = [{{ days = 0, codec = "{FADED_BY}", tokens = 0.5 }}]'
_PAST = """
[streams.past]
url = "scene://?seed=5&start={day}T23:56:00&minutes=6&busy=0.6"
pace = "fast"
"""
_CAMERA = """
[streams.camera]
url = "{url}"
fps = 5
gate_levels = 0
"""


class PastDay:
    """The day of the stream `past` that fades: before, after, and nothing between."""

    def __init__(self, folder: Path, fingerprint: bytes) -> None:
        self.day = day_ago(PAST_AGE)
        self.folder, self._fingerprint = folder / "past" / str(self.day), fingerprint
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

    @contextmanager
    def out_of_the_way(self) -> Iterator[None]:
        """Neither it nor `camera` is in the store: what was stored first is dropped first, and that may be theirs."""
        store = self.folder.parents[1]
        away = [name for name in ("past", "camera") if (store / name).exists()]
        for name in away:
            (store / name).rename(store.parent / name)
        try:
            yield
        finally:
            for name in away:
                (store.parent / name).rename(store / name)

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
        scales, ids, codecs = partition.blocks.scales(), partition.blocks.ids(), set()
        for block_id in ids:
            record = read_record(partition.blocks.record(block_id), self._fingerprint, f"block {block_id}", scales.get)
            record.unpack()
            codecs.add(record.codec.name)
        partition.file.close()
        return codecs, ids


class Recordings:
    """What the stream `extra` shows: one recording after the other, each of two later days than the one before."""

    def __init__(self) -> None:
        self._count = 0

    def next(self) -> None:
        """From now on it is the next."""
        self._count += 1

    @property
    def source(self) -> dict[str, Any]:
        """The stream's keys."""
        day = day_ago(EXTRA_AGE - 2 * self._count)
        url = f"scene://?seed={100 + self._count}&start={day}T23:59:40&minutes=0.7&busy=0.9"
        return {"url": url, "pace": "fast", "fps": 2.0, "gate_levels": 0.0}


class World:
    """What outlives each life: the store, what is known of it, and what a life needs beside it.

    Attributes:
        recalled: what each question about the past brought back when it was first asked.
        camera: the address of a camera that follows the daemon's clock.
    """

    def __init__(self, folder: Path, seed: int, camera: str) -> None:
        fingerprint = bytes.fromhex(VideoLM.load(ModelConfig()).fingerprint)[:16]
        self.folder, self.rng, self.camera = folder, random.Random(seed), camera
        self.ledger = Ledger(folder / "store", fingerprint, "yard")
        self.past = PastDay(folder / "store", fingerprint)
        self.extra = Recordings()
        self.clock = ShiftedClock(folder)
        self.recalled: dict[str, list[int]] = {}
        self.asked, self.changed = 0, list[str]()


class Life:
    """A life of the daemon: it starts, is asked what was asked before, watches, and is killed at a moment.

    Attributes:
        reached: whether what the moment is about was under way, or had been done, when the kill came.
    """

    def __init__(self, world: World, moment: str) -> None:
        self._world, self._ledger, self._past, self._rng = world, world.ledger, world.past, world.rng
        self._moment, self.reached = moment, True
        self._forgotten: list[int] = []

    def live(self) -> None:
        """From start to SIGKILL."""
        port, events_port = free_ports(2)
        environment = self._world.clock.environment if self._moment == "clock" else None
        config = self._config(port, events_port)
        self._address = f"tcp://127.0.0.1:{port}"
        self._ledger.begin_life()
        with (
            self._past.out_of_the_way() if self._moment == "drop" else contextlib.nullcontext(),
            running_daemon(config, self._world.folder, environment) as self._daemon,
            Client(self._address, timeout_seconds=20) as self._client,
        ):
            getattr(self, f"_{self._moment}")()
            self._daemon.kill()
            self._daemon.wait()

    def _config(self, port: int, events_port: int) -> str:
        """The configuration of this life."""
        dropping = self._moment == "drop"
        memory = self._content_limit() if dropping else _FADE
        config = _CONFIG.format(folder=self._world.folder, port=port, events_port=events_port, memory=memory)
        if not dropping:
            config += _PAST.format(day=self._past.day)
        if self._moment == "clock":
            self._world.clock.shift(0)
            config += _CAMERA.format(url=self._world.camera)
        return config

    def _content_limit(self) -> str:
        """A limit above which all is by half of the oldest day of `extra`, which retention then drops."""
        sizes = {day: size for day, size in self._ledger.content_bytes.items() if day[0] not in ("past", "camera")}
        oldest = min((day for stream, day in sizes if stream == "extra"), default="")
        size = sizes.get(("extra", oldest), 0)
        return f"content_bytes = {sum(sizes.values()) - size // 2}\nlow_water = 1.0\nnotice_seconds = 0"

    # The moments. Each returns when the kill is to come.

    def _first(self) -> None:
        self._until(lambda status: _stream(status, "past").state == "ended" and not status.queued_blocks)

    def _start(self) -> None:
        kill = threading.Timer(self._rng.uniform(0, 6), self._daemon.kill)
        kill.start()
        with Client(self._address, timeout_seconds=1) as client:
            while kill.is_alive():
                with contextlib.suppress(ClientError):
                    self._ledger.hear(client)
                time.sleep(0.02)

    def _fade(self) -> None:
        self._until(lambda status: self._past.fading or self._past.faded)
        time.sleep(self._rng.uniform(0, 0.3))

    def _any(self) -> None:
        self._until(lambda status: self._past.faded)
        self._ask()
        self._watch(self._rng.uniform(0.1, 1.5))

    def _commit(self) -> None:
        """A file has been written to, and the commit that does it is not at its end."""
        self._any()
        files = self._ledger.files("yard")
        before = [file.stat().st_mtime_ns for file in files]
        _await(lambda: before != [file.stat().st_mtime_ns for file in files])

    def _forget(self) -> None:
        self._any()
        old = [info for info in self._ledger.of("yard") if ("yard", info.block_id) in self._ledger.promised]
        old = old[:-OLD_BLOCKS]
        if len(old) <= FORGOTTEN_AT_ONCE:
            self.reached = False
            return
        since_ns, until_ns, infos = _some(old, FORGOTTEN_AT_ONCE, self._rng)
        self._begin_to_forget("yard", since_ns, until_ns)
        self._ledger.erase(Erasure(frozenset(("yard", info.block_id) for info in infos)))
        _await(lambda: self._ledger.rewriting("yard"))
        time.sleep(self._rng.uniform(0, 0.05))

    def _readd(self) -> None:
        """A stream is removed while its blocks wait for the disk, and another of its name is added."""
        self._until(lambda status: True)
        for _ in range(2):
            self._world.extra.next()
            with contextlib.suppress(ClientError):  # nothing of its name is watched
                self._client.remove_stream("extra")
            self._client.add_stream("extra", **self._world.extra.source)
            before = self._ledger.heard_of("extra")
            self._until(lambda status, before=before: self._ledger.heard_of("extra") > before + 5)
        self._watch(self._rng.uniform(0, 0.5))

    def _tail(self) -> None:
        """The end of a recording is forgotten; it must not be seen again at the next start."""
        self._watch_extra()
        self._until(lambda status: _stream(status, "extra").state == "ended" and not status.queued_blocks)
        starts = sorted((start_ns, key) for key, start_ns in self._ledger.starts("extra").items())
        if len(starts) < 10:
            self.reached = False
            return
        first = len(starts) * 7 // 10
        since_ns, last_ns = starts[first][0], starts[-1][0]
        must = frozenset(key for _, key in starts[first:])
        tail = Erasure(must, may=frozenset({starts[first - 1][1]}))  # which may last until then
        self._ledger.erase(tail)
        forgetting = self._begin_to_forget("extra", since_ns, None)
        forgetting.join(self._rng.choice((PATIENCE_SECONDS, 0.05 * self._rng.random())))
        if self._forgotten:
            self._ledger.confirm(tail, ("extra", since_ns, last_ns))

    def _drop(self) -> None:
        """The oldest day of `extra` is above the limit of bytes."""
        days = self._ledger.days_of("extra")
        *past, _ = sorted(days) or [""]
        for day in past:
            self._ledger.erase(Erasure(days[day]))
        self._until(lambda status: True)
        if past:
            oldest = self._world.folder / "store" / "extra" / past[0] / "data.mdb"
            _await(lambda: not oldest.exists(), DROP_SECONDS)
            time.sleep(self._rng.uniform(0, 0.02))
        self.reached = bool(past) and not oldest.exists()

    def _clock(self) -> None:
        """The wall's clock jumps, and perhaps is put right."""
        self._until(lambda status: self._ledger.heard_of("camera") > 3)
        self._watch(1)
        self._world.clock.shift(self._rng.choice(JUMPS))
        self._watch(self._rng.uniform(0.5, 2))
        if self._rng.random() < 0.5:
            self._world.clock.shift(0)
            self._watch(self._rng.uniform(0.2, 1))

    # What moments share.

    def _until(self, holds: Callable[[StatusReply], bool]) -> None:
        """Hears the daemon until something is so of its status."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                if holds(self._ledger.hear(self._client)):
                    return
            except ClientError as exc:
                self._check(self._daemon.poll() is None, str(exc))
            self._check(time.monotonic() < deadline, "what it waits for does not come")
            time.sleep(0.05)

    def _check(self, holds: bool, otherwise: str) -> None:
        """Ends the benchmark where the daemon is not as it has to be."""
        if not holds:
            log = (self._world.folder / "daemon.log").read_text()[-2000:]
            code = self._daemon.poll()
            raise SystemExit(f"before the moment {self._moment}: {otherwise} (exit code {code}); its log: {log}")

    def _watch(self, seconds: float) -> None:
        """Hears what is announced and becomes durable."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                self._ledger.hear(self._client)
            except ClientError as exc:
                self._check(False, str(exc))
            time.sleep(0.01)

    def _watch_extra(self) -> None:
        """Has `extra` watched where it is not."""
        self._until(lambda status: True)
        if all(stream.name != "extra" for stream in self._client.status().streams):
            self._client.add_stream("extra", **self._world.extra.source)

    def _ask(self) -> None:
        for question in QUESTIONS:
            recalled = self._client.ask(question, stream="past", pictures=False).recalled
            self._count(question, recalled, self._world.recalled.setdefault(question, recalled))
        old = self._ledger.of("yard")[:-OLD_BLOCKS]
        for _ in range(SPANS_ASKED if len(old) > SPAN_BLOCKS else 0):
            since_ns, until_ns, infos = _some(old, SPAN_BLOCKS, self._rng)
            end = self._client.ask(
                "what happened?", stream="yard", since_ns=since_ns, until_ns=until_ns, pictures=False
            )
            self._count(f"from {since_ns} to {until_ns}", end.recalled, [info.block_id for info in infos])

    def _count(self, question: str, recalled: list[int], before: list[int]) -> None:
        self._world.asked += 1
        if recalled != before:
            self._world.changed.append(f"{question}: {recalled}, and was {before}")

    def _begin_to_forget(self, stream: str, since_ns: int, until_ns: int | None) -> threading.Thread:
        """Asks for it and does not wait for the end; `_forgotten` is filled when it has come."""

        def forget() -> None:
            with Client(self._address, timeout_seconds=5) as other, contextlib.suppress(ClientError):
                self._forgotten.append(other.forget(stream, since_ns, until_ns))

        forgetting = threading.Thread(target=forget, daemon=True)
        forgetting.start()
        return forgetting


def _stream(status: StatusReply, name: str) -> StreamStatus:
    return next(stream for stream in status.streams if stream.name == name)


def _await(what: Callable[[], bool], seconds: float = 2.0) -> None:
    """Looks without rest until something is so, or the time is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not what():
        pass


def _some(old: list[BlockInfo], count: int, rng: random.Random) -> tuple[int, int, list[BlockInfo]]:
    """The time of so many blocks in a row, and all that it touches: a gap before the first ends where that begins."""
    first = rng.randrange(len(old) - count)
    since_ns, until_ns = old[first].start_ns, old[first + count - 1].end_ns
    return since_ns, until_ns, [info for info in old if info.end_ns >= since_ns and info.start_ns <= until_ns]


def run(kills: int, moments_wanted: Sequence[str], seed: int, folder: Path, told: Callable[[], None]) -> dict[str, Any]:
    """Lives and kills; the first life sees the past and is not counted."""
    began = time.monotonic()
    fadings_cut_short, half_faded = 0, list[str]()
    moments: Counter[str] = Counter()
    reached: Counter[str] = Counter()
    with ExitStack() as stack:
        world = World(folder, seed, stack.enter_context(serve_camera()))
        skipped = {"clock": world.clock.trouble} if world.clock.trouble else {}
        possible = [moment for moment in moments_wanted if moment not in skipped]
        for number in range(-1, kills):
            moment = possible[number % len(possible)] if number >= 0 else "first"
            if moment == "fade":
                world.past.put_back()
            life = Life(world, moment)
            life.live()
            world.ledger.examine()
            if number < 0:
                world.past.keep()
            fadings_cut_short += world.past.fading
            if trouble := world.past.trouble():
                half_faded.append(trouble)
            if number >= 0:
                moments[moment] += 1
                reached[moment] += life.reached
                told()
    ledger = world.ledger
    return {
        "kills": kills,
        "durable_lost": len(ledger.lost),
        "back_from_the_dead": len(ledger.back),
        "ids_twice": len(ledger.twice),
        "recall_changed": len(world.changed),
        "half_forgotten": ledger.half_erased,
        "half_faded": half_faded,
        "durable": len(ledger.promised - ledger.gone),
        "forgotten": len(ledger.gone),
        "announced": len(ledger.announced),
        "forgettings_cut_short": ledger.cut_short,
        "fadings_cut_short": fadings_cut_short,
        "asked": world.asked,
        "moments": dict(moments),
        "reached": dict(reached),
        "skipped": skipped,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "changed": world.changed,
        **{name: {" ".join(map(str, key)): why for key, why in found.items()} for name, found in _found(ledger)},
    }


def _found(ledger: Ledger) -> Iterator[tuple[str, dict[tuple[str, int], str]]]:
    yield from (("lost", ledger.lost), ("back", ledger.back), ("twice", ledger.twice))


def main() -> None:
    """Prints the table, or JSON; exit code 1 where something was lost, came back, was named twice or changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--moments", nargs="+", choices=MOMENTS, default=MOMENTS, help="which, in turn; all of them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        Progress(console=Console(stderr=True), transient=True, disable=options.json) as progress,
    ):
        task = progress.add_task("killing", total=options.kills)
        result = run(options.kills, options.moments, options.seed, Path(folder), lambda: progress.advance(task))
    if options.json:
        print(json.dumps(result))
    else:
        print_table(result, Console())
    wrong = ("durable_lost", "back_from_the_dead", "ids_twice", "recall_changed", "half_forgotten", "half_faded")
    sys.exit(1 if any(result[name] for name in wrong) else 0)


def print_table(result: dict[str, Any], out: Console) -> None:
    """What was lost, for people."""
    table = Table("", "of", "", "target", box=None)
    table.add_row("durable blocks lost", str(result["durable"]), str(result["durable_lost"]), "0")
    table.add_row("back from the dead", f"{result['forgotten']} forgotten", str(result["back_from_the_dead"]), "0")
    table.add_row("ids given twice", f"{result['announced']} announced", str(result["ids_twice"]), "0")
    table.add_row("recalled otherwise", f"{result['asked']} questions", str(result["recall_changed"]), "0")
    cut_short = f"{result['forgettings_cut_short']} cut short"
    table.add_row("forgotten or dropped by half", cut_short, str(result["half_forgotten"]), "0")
    cut_short = f"{result['fadings_cut_short']} cut short"
    table.add_row("faded by half", cut_short, str(len(result["half_faded"])), "0")
    when = ", ".join(f"{result['reached'][moment]} of {count} {moment}" for moment, count in result["moments"].items())
    out.print(f"{result['kills']} kills (in time: {when}) in {result['minutes']} minutes")
    for moment, why in result["skipped"].items():
        out.print(f"the moment {moment} was left out: {why}")
    out.print(table)
    for change in result["changed"]:
        out.print(change, soft_wrap=True)
    for name in ("lost", "back", "twice"):
        for key, why in [*result[name].items()][:SHOWN]:
            out.print(f"{name}: {key} {why}", soft_wrap=True)


if __name__ == "__main__":
    main()
