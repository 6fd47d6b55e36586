"""The demo: a real daemon watches a rendered yard for half an hour of its time, and is asked about what it saw.

The questions are drawn from all kinds alike by the seed, about moments that slid out of the window long before, and
their answers are known from the scene's truth. Nothing is picked by hand.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ..clients import Client
from ..clients.errors import ClientError
from ..clients.pictures import save
from ..daemon.protocol import StreamStatus
from ..yard import kinds as quiz
from ..yard.kinds import NOW_KINDS, QUESTION_KINDS, Question
from ..yard.moment import Moment, clock, scene_moments
from ..yard.scene import Scene
from .process import free_ports, running_daemon
from .sheet import Asked, draw_sheet

MINUTES = 30
START = "2026-03-02T14:00:00"
URL = f"scene://?seed={{seed}}&start={START}&minutes={MINUTES}&busy=0.15"
OLD_SECONDS = 300
_SLACK_NS = 2_000_000_000
_MARK = ".longwatch-demo"
_CONFIG = """
[memory]
folder = "{folder}/store"
[server]
address = "tcp://127.0.0.1:{port}"
events_address = "tcp://127.0.0.1:{events_port}"
[log]
level = "warning"
[streams.yard]
url = "{url}"
pace = "fast"
"""


def ask(client: Client, question: Question, moments: Sequence[Moment], folder: Path) -> Asked:
    """Asks and judges one question."""
    end = client.ask(question.text)
    times = [moments[i].time_ns for i in question.proof]
    covered = [
        any(e.start_ns - _SLACK_NS <= time_ns <= e.end_ns + _SLACK_NS for time_ns in times) for e in end.evidence
    ]
    age = (moments[-1].time_ns - max(times)) / 1e9 if times else None
    correct = quiz.agrees(question, end.text)
    return Asked(question, end, correct, any(covered) if times else None, age, save(end, folder))


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


def as_json(asked: Asked) -> dict[str, Any]:
    """One question's line for machines."""
    rows = zip(asked.end.evidence, asked.pictures, strict=True)
    return {
        "kind": asked.question.kind,
        "question": asked.question.text,
        "answer": asked.end.text,
        "truth": asked.question.answer,
        "correct": asked.correct,
        "evidence_correct": asked.proven,
        "age_seconds": asked.age_seconds,
        "evidence": [
            {
                "start": clock(e.start_ns),
                "end": clock(e.end_ns),
                "use": round(e.use, 4),
                "picture": str(picture) if picture else None,
            }
            for e, picture in rows
        ],
        "ttft_ms": round(asked.end.ttft_ms, 1),
    }


def summary(answers: Sequence[Asked]) -> dict[str, int]:
    """The last line for machines; `provable` are the questions that some moment answers."""
    return {
        "asked": len(answers),
        "correct": sum(a.correct for a in answers),
        "evidence_correct": sum(bool(a.proven) for a in answers),
        "provable": sum(a.proven is not None for a in answers),
    }


def print_table(answers: Sequence[Asked], console: Console) -> None:
    """The answers for people."""
    table = Table("question", "answer", "truth", "", "age", "evidence", "picture", box=None)
    for a in answers:
        mark = "[green]right[/]" if a.correct else "[red]wrong[/]"
        proof = {True: "shows it", False: "[red]misses it[/]", None: "nothing to show"}[a.proven]
        age = "-" if a.age_seconds is None else f"{a.age_seconds / 60:.0f} min"
        picture = a.pictures[0].name if a.pictures and a.pictures[0] else "-"
        table.add_row(a.question.text, a.end.text, a.question.answer, mark, age, proof, picture)
    console.print(table)


def _clear(folder: Path) -> None:
    """An empty folder; one that an earlier demo made is emptied, any other that holds something is left alone."""
    mark = folder / _MARK
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        raise SystemExit(f"longwatch: {folder} holds other things; give the demo a folder of its own with --folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mark.touch()


def main() -> None:
    """Runs the demo; exit code 1 where fewer than three quarters of the answers are right."""
    parser = argparse.ArgumentParser(prog="longwatch demo")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("longwatch-demo"))
    options = parser.parse_args()
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 140)
    folder: Path = options.folder.resolve()
    _clear(folder)
    port, events_port = free_ports(2)
    url = URL.format(seed=options.seed)
    moments = scene_moments(Scene.from_url(url), MINUTES * 60)
    old = len(moments) - OLD_SECONDS
    questions = quiz.draw(
        quiz.Asker(moments, np.random.default_rng([options.seed, 77])),
        QUESTION_KINDS,
        1,
        lambda question: question.kind in NOW_KINDS or all(i < old for i in question.proof),
    )
    text = _CONFIG.format(folder=folder, port=port, events_port=events_port, url=url)
    with (
        running_daemon(text, folder) as daemon,
        Client(f"tcp://127.0.0.1:{port}") as client,
        Progress(console=console, transient=True) as progress,
    ):
        stream = watch(client, daemon, progress)
        task = progress.add_task("asking", total=len(questions))
        answers = []
        for question in questions:
            answers.append(ask(client, question, moments, folder / "evidence"))
            progress.advance(task)
    cv2.imwrite(str(folder / "answers.png"), draw_sheet(answers))
    result = summary(answers)
    if options.json:
        for asked in answers:
            print(json.dumps(as_json(asked)))
        print(json.dumps(result))
    else:
        console.print(f"{stream.frames} frames seen, {stream.blocks} blocks kept; asked about them afterwards:")
        print_table(answers, console)
        console.print(
            f"{result['correct']} of {result['asked']} right (a time counts within 5 s); evidence shows the true "
            f"moment for {result['evidence_correct']} of {result['provable']}; pictures in {folder}"
        )
    sys.exit(0 if result["correct"] >= 0.75 * result["asked"] else 1)


if __name__ == "__main__":
    main()
