"""How long an answer takes, with 200, 2,000 and 20,000 blocks of history, beside reading the video again.

The baseline is plain transformers: for each question `generate` over 64 frames sampled uniformly from the history,
which is what is done without a memory. Same checkpoint, same dtype, same run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

import torch
from harness import Rig, rig
from rich.progress import Progress
from transformers import LlavaOnevisionForConditionalGeneration

from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.model.family import EMBEDDED
from longwatch.daemon.model.settings import ModelConfig
from longwatch.yard.scene import Scene

URL = "scene://?seed=5&start=2026-03-02T00:00:00"
SOURCE = SourceConfig(url=URL, pace="fast", gate_levels=0.0)
HISTORIES = (200, 2_000, 20_000)
REREAD_FRAMES = 64
QUESTIONS = [
    f"did a {colour} {thing} appear?" for colour in ("red", "white", "green") for thing in ("car", "dog", "box")
]
QUESTIONS += [f"when did the {colour} van appear?" for colour in ("blue", "black", "yellow")]


def from_memory(bench: Rig) -> dict[str, float]:
    """Median time to first token, its spread, and tokens a second."""
    for question in QUESTIONS[:3]:
        bench.ask(question)
    ends, speeds = [], []
    for question in QUESTIONS:
        end, seconds = bench.ask(question)
        ends.append(end.ttft_ms)
        if end.tokens > 1:
            speeds.append((end.tokens - 1) / seconds)
    return {
        "ttft_ms": round(statistics.median(ends), 1),
        "ttft_max_ms": round(max(ends), 1),
        "tokens_per_second": round(statistics.median(speeds), 1),
    }


def from_video(bench: Rig, seconds: int) -> dict[str, float]:
    """The same for plain transformers reading 64 frames of the history for every question."""
    plain = LlavaOnevisionForConditionalGeneration.from_pretrained(EMBEDDED, dtype=bench.model.dtype).eval()
    family = bench.model._family
    scene = Scene.from_url(URL)
    frames = [scene.render(i * seconds / REREAD_FRAMES) for i in range(REREAD_FRAMES)]
    video = plain.config.video_token_index
    times = []
    for question in QUESTIONS[:6]:
        began = time.perf_counter()
        pixels = family.preprocessor(frames).to(bench.model.dtype)[None]
        newline = 1  # transformers ends a clip with one
        visual = [video] * (REREAD_FRAMES * 16 + newline)
        ids = torch.tensor([[*family.prompt.sink_ids, *visual, *family.prompt.question_ids(question)]])
        with torch.inference_mode():
            plain.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                pixel_values_videos=pixels,
                max_new_tokens=1,
                do_sample=False,
            )
        times.append((time.perf_counter() - began) * 1e3)
    return {"ttft_ms": round(statistics.median(times), 1), "ttft_max_ms": round(max(times), 1)}


def main() -> None:
    """Prints the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--most", type=int, default=HISTORIES[-1], help="the longest history, in blocks")
    options = parser.parse_args()
    histories = [h for h in HISTORIES if h <= options.most]
    rows: list[dict[str, float | str]] = []
    with (
        Progress(transient=True, disable=options.json or not sys.stderr.isatty()) as progress,
        rig(SOURCE, ModelConfig()) as bench,
    ):
        task = progress.add_task("watching", total=histories[-1])
        for blocks in histories:
            bench.watch(blocks, lambda n: progress.update(task, completed=n))
            bench.tiers.store.flush()
            rows.append({"from": f"memory, {blocks} blocks", **from_memory(bench)})
        rows.append({"from": f"video, {REREAD_FRAMES} frames read again", **from_video(bench, histories[-1])})
    times = [float(row["ttft_ms"]) for row in rows]
    result = {
        "rows": rows,
        "ttft_ratio": round(times[len(histories) - 1] / times[0], 3),
        "speedup_vs_reread": round(times[-1] / times[len(histories) - 1], 2),
    }
    if options.json:
        print(json.dumps(result))
        return
    for row in rows:
        speed = f"{row['tokens_per_second']} tokens/s" if "tokens_per_second" in row else ""
        print(f"{row['from']:32} first token {row['ttft_ms']:8} ms (at most {row['ttft_max_ms']})   {speed}")
    print(f"ttft_ratio {result['ttft_ratio']}   speedup_vs_reread {result['speedup_vs_reread']}")


if __name__ == "__main__":
    main()
