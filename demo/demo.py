"""The demo: a real daemon watches a rendered yard for 30 simulated minutes, and is asked about what it saw.

The seed draws one question of each kind, about moments that left the window long before. Their answers are known from
the scene's truth. Nothing is picked by hand.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import Progress

from ..clients import Client
from ..clients.errors import ClientError
from ..clients.terminal import make_console
from ..daemon.protocol import StreamStatus
from ..yard.asker import Asker
from ..yard.kinds import NOW_KINDS, QUESTION_KINDS, draw_each
from ..yard.moment import Moment, scene_moments
from ..yard.question import Question
from ..yard.scene import Scene
from .answers import JudgedAnswer, as_json, ask, sum_up
from .process import free_ports, running_daemon
from .sheet import draw_sheet
from .table import choose, make_table

MINUTES = 30
START = "2026-03-02T14:00:00"
URL = f"scene://?seed={{seed}}&start={START}&minutes={MINUTES}&busy=0.15"
OLD_SECONDS = 300
IN_TABLE, ON_SHEET = 12, 9
_MARK = ".longwatch-demo"
_CONFIG = """
[memory]
folder = "{folder}/store"
[server]
address = "{address}"
events_address = "tcp://127.0.0.1:{events_port}"
[log]
level = "info"
[streams.yard]
url = "{url}"
pace = "fast"
"""


def main() -> None:
    """Runs the demo; exit code 1 if fewer than three quarters of the answers are right."""
    parser = argparse.ArgumentParser(prog="longwatch demo")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("longwatch-demo"))
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    _clear(folder)
    port, events_port = free_ports(2)
    address, url = f"tcp://127.0.0.1:{port}", URL.format(seed=options.seed)
    config = _CONFIG.format(folder=folder, address=address, events_port=events_port, url=url)
    show, began = make_console(stderr=True), time.monotonic()
    show.print(
        f"watching {MINUTES} simulated minutes of a drawn yard, then asking about them; this takes a minute or two"
    )
    answers = list(watch_and_ask(config, address, url, options.seed, folder, show))
    lines = [json.dumps(as_json(answer)) for answer in answers]
    (folder / "answers.jsonl").write_text("\n".join(lines) + "\n")
    cv2.imwrite(str(folder / "answers.png"), draw_sheet(choose(answers, ON_SHEET)))
    result = sum_up(answers)
    if options.json:
        print(*lines, json.dumps(result), sep="\n")
    else:
        report(answers, folder, address, time.monotonic() - began)
    sys.exit(0 if result["correct"] >= 0.75 * result["asked"] else 1)


def watch_and_ask(
    config: str, address: str, url: str, seed: int, folder: Path, show: Console
) -> Iterator[JudgedAnswer]:
    """Runs a daemon until it has seen the whole scene, then asks it everything."""
    moments = scene_moments(Scene.from_url(url), MINUTES * 60)
    questions = draw_questions(moments, seed)
    with (
        running_daemon(config, folder) as daemon,
        Client(address) as client,
        Progress(console=show, transient=True) as progress,
    ):
        watch(client, daemon, progress)
        for question in progress.track(questions, description="asking"):
            yield ask(client, question, moments, folder / "evidence")


def draw_questions(moments: Sequence[Moment], seed: int) -> list[Question]:
    """One of each kind: about now, or about what is older than the window."""
    old = len(moments) - OLD_SECONDS
    return draw_each(
        Asker(moments, np.random.default_rng([seed, 77])),
        QUESTION_KINDS,
        1,
        lambda question: question.kind in NOW_KINDS or all(i < old for i in question.proof),
    )


def watch(client: Client, daemon: subprocess.Popen[bytes], progress: Progress) -> StreamStatus:
    """Waits until the whole scene is encoded and durable."""
    task = progress.add_task("loading the model", total=MINUTES * 60)
    while True:
        if daemon.poll() is not None:
            raise SystemExit("longwatch: the daemon did not start; its log is daemon.log in the demo's folder")
        try:
            stream = client.status().streams[0]
        except ClientError:
            time.sleep(0.2)
            continue
        progress.update(task, completed=stream.frames, description=f"watching the yard, {stream.blocks} blocks kept")
        if stream.state == "failed":
            raise SystemExit(f"longwatch: {stream.last_error}")
        if stream.state == "ended" and stream.durable_id == stream.blocks:
            return stream
        time.sleep(0.2)


def report(answers: Sequence[JudgedAnswer], folder: Path, address: str, seconds: float) -> None:
    """Prints the table, the totals over all questions, and what to do next."""
    out, shown, result = make_console(), choose(answers, IN_TABLE), sum_up(answers)
    folder = _shorten(folder)
    out.print(make_table(shown))
    out.print(
        f"\n{result['correct']} of {result['asked']} answers are right (a time may be 5 s off);"
        f" {result['evidence_correct']} of {result['provable']} come with a picture of the right moment.\n"
        f"The table shows {len(shown)} of the questions, plain ones first; all are in {folder}/answers.jsonl.\n"
        f"Each answer above the frame it came from: {folder}/answers.png\n"
        f"It took {seconds:.0f} s to watch {MINUTES} simulated minutes and to ask.\n",
        soft_wrap=True,
    )
    program = "longwatch" if shutil.which("longwatch") else _shorten(Path(sys.executable).parent / "longwatch")
    camera = _shorten(Path(__file__).parents[1] / "configs" / "camera.toml")
    out.print(
        f"Start this daemon again (it remembers the yard):\n  {program} serve {folder}/config.toml\n"
        f"In a second terminal, ask it more:\n  {program} chat --address {address}\n"
        f"Your own camera: write its address into this file, then check it:\n  {program} validate {camera}",
        soft_wrap=True,
    )


def _clear(folder: Path) -> None:
    """Makes an empty folder. It empties one that an earlier demo made, but no other folder."""
    mark = folder / _MARK
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        raise SystemExit(f"longwatch: {folder} holds other things; give the demo a folder of its own with --folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mark.touch()


def _shorten(path: Path) -> Path:
    """The path from the current folder, if it lies below that."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    main()
