"""How long a daemon takes to start on a long memory, with index files and without.

The baseline is to read every signature of every day from LMDB, which is what a start did before there were index files.
Each row is a process of its own on the same memory, whose files are put out of the page cache before. `own_mib` is
memory that the system cannot have back; what is mapped from files is not in it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from longwatch.clients import Client
from longwatch.clients.errors import ClientError
from longwatch.daemon.calibration.calibration import load_heads
from longwatch.daemon.log import set_up
from longwatch.daemon.model.queries import compute_queries
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.daemon.stream.maker import StreamMaker, make_tiers
from longwatch.demo.process import free_ports, running_daemon
from longwatch.memory.block import Block, BlockInfo
from longwatch.memory.codec.registry import CODECS
from longwatch.memory.record import write_record
from longwatch.memory.rows import Entry
from longwatch.memory.settings import MemoryConfig
from longwatch.memory.store import Store
from longwatch.retrieval.retrievers.retriever import Query
from longwatch.retrieval.settings import RetrievalConfig

START_NS, DAY_NS = 1_772_409_600_000_000_000, 86_400_000_000_000  # 2026-03-02 00:00 UTC
STREAM = "yard"
RAM_BYTES = 16 << 20
COLUMNS = ("start", "seconds", "rss_mib", "own_mib", "first_rank_ms", "rank_ms")
_MIB, _RECORDS = 1 << 20, 256
_CONFIG = """
[memory]
folder = "{folder}"
keep_days = 0
ram_bytes = {ram_bytes}
[server]
address = "tcp://127.0.0.1:{port}"
events_address = "tcp://127.0.0.1:{events_port}"
[log]
level = "warning"
[streams.yard]
url = "scene://?seed=3&start=2026-03-02T00:00:00&minutes=1"
pace = "fast"
"""


class Memory:
    """A store with what a stream's index is made of, as the daemon has it."""

    def __init__(self, folder: Path) -> None:
        self.model = VideoLM.load(ModelConfig())
        self.heads = load_heads("embedded", self.model.fingerprint)
        config = MemoryConfig(folder=str(folder), codec="int4", ram_bytes=RAM_BYTES)
        self.store = Store(config)
        self.tiers = make_tiers(self.model, self.store, config)
        self.maker = StreamMaker(self.model, self.tiers, RetrievalConfig(), heads=self.heads)

    def write(self, days: int, per_day: int, told: Callable[[int], None]) -> None:
        """Blocks of one token, evenly over the days: signatures all random, keys and values out of a few."""
        generator = torch.Generator().manual_seed(5)
        layers, kv_heads, dim = self.model.geometry
        kv = torch.randn(_RECORDS, 2, layers, kv_heads, 1, dim, generator=generator).to(self.model.dtype)
        shape = self.maker.layout.signatures(kv[:1, 0]).shape[1:]
        records = [self._record(keys, values) for keys, values in kv]
        for day in range(days):
            signatures = torch.randn(per_day, *shape, generator=generator).half()
            for number in range(per_day):
                count = day * per_day + number + 1
                start_ns = START_NS + day * DAY_NS + number * DAY_NS // per_day
                if not self.store.has_room("it"):
                    self.store.flush(600)
                info = BlockInfo(count, start_ns, start_ns, 1)
                self.store.put(STREAM, Entry(info, records[count % _RECORDS], signatures[number], b""))
                told(count)
        self.store.flush(600)

    def _record(self, keys: torch.Tensor, values: torch.Tensor) -> bytes:
        none = torch.empty(0, 0, dtype=torch.float16)
        block = Block(block_id=1, start_ns=0, end_ns=0, keys=keys, values=values, signature=none)
        codec = CODECS["raw32" if self.model.dtype == torch.float32 else "raw16"]
        return write_record(block, codec, bytes.fromhex(self.model.fingerprint)[:16])


def drop_cache(folder: Path) -> None:
    """Puts the store's files out of the page cache, as after a boot."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def fill(folder: Path, days: int, per_day: int, json_only: bool) -> None:
    """Writes the memory; in a process of its own."""
    with Progress(transient=True, disable=json_only or not sys.stderr.isatty()) as progress:
        task = progress.add_task("writing the memory", total=days * per_day)
        memory = Memory(folder)
        memory.write(days, per_day, lambda n: progress.update(task, completed=n) if n % 1000 == 0 else None)
        memory.store.close()


def restore(folder: Path, name: str, from_lmdb: bool) -> dict[str, Any]:
    """Brings the index back, and ranks twice; in a process of its own."""
    set_up(level="warning", as_json=False)
    process = psutil.Process()
    memory = Memory(folder)
    memory.store.close()  # its opening is part of what is measured, the model's loading is not
    before_rss, before_own = _resident(process)
    began = time.perf_counter()
    memory.store = Store(MemoryConfig(folder=str(folder), ram_bytes=RAM_BYTES))
    memory.tiers.store = memory.store
    stream_memory = memory.maker.make_memory(STREAM)
    retriever = stream_memory.retriever
    if from_lmdb:
        for info, signature in memory.tiers.signatures(STREAM):
            retriever.index.add(info, retriever.index.cut(signature))
    else:
        stream_memory.restore()
    seconds = time.perf_counter() - began
    rss, own = _resident(process)
    question = memory.model.prompt.question_ids("is it there?")
    (queries,) = compute_queries(memory.model, memory.model.new_window(), [question])
    times, ranked = [], []
    for _ in range(2):
        began = time.perf_counter()
        ranked = [hit.info.block_id for hit in retriever.rank(Query(by_layer=queries), None, ())]
        times.append((time.perf_counter() - began) * 1e3)
    memory.store.close()
    return {
        "start": name,
        "seconds": round(seconds, 2),
        "rss_mib": round((rss - before_rss) / _MIB),
        "own_mib": round((own - before_own) / _MIB),
        "first_rank_ms": round(times[0]),
        "rank_ms": round(times[1]),
        "blocks": len(retriever.index),
        "ranked": ranked,
    }


def whole_daemon(folder: Path) -> dict[str, Any]:
    """The real daemon with all that it loads: until it answers, and its first question."""
    port, events_port = free_ports(2)
    config = _CONFIG.format(folder=folder, ram_bytes=RAM_BYTES, port=port, events_port=events_port)
    with (
        tempfile.TemporaryDirectory() as own,
        Client(f"tcp://127.0.0.1:{port}", timeout_seconds=600) as client,
    ):
        began = time.perf_counter()
        with running_daemon(config, Path(own)) as daemon:
            while True:
                if daemon.poll() is not None:
                    raise SystemExit(f"the daemon did not start: {(Path(own) / 'daemon.log').read_text()[-2000:]}")
                try:
                    blocks = client.status().streams[0].blocks
                    break
                except ClientError:
                    time.sleep(0.05)
            seconds = time.perf_counter() - began
            rss, own_bytes = _resident(psutil.Process(daemon.pid))
            times = [client.ask("did a red car appear?").total_ms for _ in range(2)]
    return {
        "start": "the whole daemon, with index files",
        "seconds": round(seconds, 2),
        "rss_mib": round(rss / _MIB),
        "own_mib": round(own_bytes / _MIB),
        "first_rank_ms": round(times[0]),
        "rank_ms": round(times[1]),
        "blocks": blocks,
    }


def _resident(process: psutil.Process) -> tuple[int, int]:
    """Resident bytes, and those among them that are not mapped from files."""
    info = process.memory_info()
    return info.rss, info.rss - info.shared


def _apart(work: Callable[..., Any], *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All rows."""
    _apart(fill, folder, options.days, options.blocks, options.json)
    rows = []
    for name, from_lmdb in (
        ("rebuilt from LMDB (baseline)", True),
        ("rebuilt, and index files made", False),
        ("with index files", False),
    ):
        drop_cache(folder)
        rows.append(_apart(restore, folder, name, from_lmdb))
    drop_cache(folder)
    rankings = [row.pop("ranked") for row in rows]
    assert all(ranking == rankings[0] for ranking in rankings), "the index files rank otherwise than the data"
    rows.append(whole_daemon(folder))
    files = list(folder.rglob("index"))
    return {
        "days": options.days,
        "blocks": rows[0]["blocks"],
        "index_bytes_per_block": round(sum(file.stat().st_size for file in files) / (options.blocks * len(files))),
        "speedup": round(rows[0]["seconds"] / rows[2]["seconds"], 1),
        "rows": rows,
    }


def main() -> None:
    """Prints the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=30, help="at least 2: the newest has no index file")
    parser.add_argument("--blocks", type=int, default=20_000, help="of each day")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder) / "store", options)
    if options.json:
        print(json.dumps(result))
        return
    out = Console(width=None if sys.stdout.isatty() else 140)
    table = Table(*COLUMNS, box=None)
    for row in result["rows"]:
        table.add_row(*(str(row[column]) for column in COLUMNS))
    out.print(
        f"{result['days']} days, {result['blocks']} blocks, {result['index_bytes_per_block']} bytes each in an index"
    )
    out.print(table)
    out.print(f"with index files {result['speedup']} times as fast as the baseline")


if __name__ == "__main__":
    main()
