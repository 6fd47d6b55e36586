"""How fast frames become memory, what share of that time the model itself takes, and whether memory use stays flat.

Every frame is encoded (the gate is off), through capture process, model, codec, LMDB and index, as the daemon does it.
`model_share` is the time inside the model's own forwards over the whole wall time.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import psutil
from harness import Rig, rig
from rich.progress import Progress

from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.model.settings import ModelConfig

SOURCE = SourceConfig(url="scene://?seed=3&start=2026-03-02T00:00:00", pace="fast", gate_levels=0.0)
EARLY_FRAMES, LATE_FRAMES = 2_000, 10_000


def measure(bench: Rig, warm: int, frames: int, progress: Progress, name: str) -> dict[str, float | str | int]:
    """Frames a second and the model's share, after a warm-up."""
    task = progress.add_task(name, total=warm + frames)
    bench.watch(warm, lambda n: progress.update(task, completed=n))
    began, inside, have = time.perf_counter(), bench.model.forward_seconds, len(bench.stream.retriever.index)
    bench.watch(have + frames, lambda n: progress.update(task, completed=n))
    wall = time.perf_counter() - began
    encoded = len(bench.stream.retriever.index) - have
    share = (bench.model.forward_seconds - inside) / wall
    return {
        "model": name,
        "frames": encoded,
        "fps": round(encoded / wall, 2),
        "model_share": round(share, 3),
        "dtype": str(bench.model.dtype).removeprefix("torch."),
    }


def embedded(frames: int, late: int, progress: Progress) -> dict[str, float | str | int]:
    """The shipped model, and resident memory after 2,000 and after 10,000 frames with a small RAM tier."""
    with rig(SOURCE, ModelConfig(), ram_bytes=16 << 20) as bench:
        row = measure(bench, 200, frames, progress, "embedded")
        process = psutil.Process()
        sizes = []
        task = progress.add_task("resident memory", total=late)
        for count in (EARLY_FRAMES, late):
            bench.watch(count, lambda n: progress.update(task, completed=n))
            sizes.append(process.memory_info().rss)
        row.update(rss_early_mib=sizes[0] >> 20, rss_late_mib=sizes[1] >> 20, rss_ratio=round(sizes[1] / sizes[0], 3))
    return row


def half_billion(frames: int, progress: Progress) -> dict[str, float | str | int]:
    """The 0.5B geometry with random weights."""
    from checkpoints import HALF_BILLION, write_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        name = str(write_checkpoint(Path(folder), HALF_BILLION))
        config = ModelConfig(name=name, window_tokens=2000, chunk_frames=2)
        with rig(SOURCE, config) as bench:
            return measure(bench, 2, frames, progress, "llava-onevision-0.5b geometry, random weights")


def main() -> None:
    """Prints the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--late", type=int, default=LATE_FRAMES, help="frames after which memory is read again")
    parser.add_argument("--small", action="store_true", help="the embedded model only")
    options = parser.parse_args()
    with Progress(transient=True, disable=options.json or not sys.stderr.isatty()) as progress:
        rows = [embedded(options.frames, options.late, progress)]
        if not options.small:
            rows.append(half_billion(8, progress))
    if options.json:
        print(json.dumps({"rows": rows}))
        return
    for row in rows:
        print(f"{row['model']:50} {row['fps']:8} frames/s   model_share {row['model_share']}   {row['dtype']}")
    first = rows[0]
    print(
        f"resident memory: {first['rss_early_mib']} MiB after {EARLY_FRAMES} frames, {first['rss_late_mib']} MiB "
        f"after {options.late}: ratio {first['rss_ratio']}"
    )


if __name__ == "__main__":
    main()
