"""What a real daemon makes of questions about a time, and how it explains its answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from longwatch.clients.client import Client
from longwatch.yard.scene import Scene

from .daemon_process import DaemonProcess

URL = "scene://?seed=5&minutes=12&start=2026-03-02T14:00:00&busy=0.6"
SCENE = Scene.from_url(URL)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    tables = f'[streams.yard]\nurl = "{URL}"\npace = "fast"\n[retrieval]\nspan_blocks = 8\n'
    with DaemonProcess(tmp_path_factory.mktemp("watched"), tables) as running:
        running.wait(lambda s: s.streams[0].state == "ended" and not s.queued_blocks)
        yield running


@pytest.fixture
def client(daemon: DaemonProcess) -> Client:
    return daemon.client


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("was the door open at 13:00?", "There is no video from 2026-03-02 13:00:00 to 2026-03-02 13:00:59."),
        ("what happened yesterday?", "There is no video from 2026-03-01 00:00:00 to 2026-03-01 23:59:59."),
        ("who came before 13:30?", "There is no video until 2026-03-02 13:30:00."),
    ],
)
def test_a_time_without_video_is_answered_as_such(client: Client, question: str, said: str) -> None:
    end = client.ask(question)
    assert (end.text, end.stopped, end.evidence) == (said, "no video", [])


def test_a_question_about_now_recalls_nothing_and_says_why(client: Client) -> None:
    end = client.ask("is the door open right now?", explain=True)
    assert end.text == ("yes" if SCENE.state(12 * 60 - 1).door_open else "no")
    assert end.recalled == []
    assert end.explanation is not None
    assert end.explanation.present
    assert {candidate.tier for candidate in end.explanation.candidates} == {"window"}


def test_before_an_event_means_the_time_before_it_was_seen(client: Client) -> None:
    seen: dict[str, list[int]] = {}
    for t in range(12 * 60):
        for thing in SCENE.state(t).things:
            seen.setdefault(f"{thing.colour} {thing.kind}", []).append(t)
    once = [name for name, times in seen.items() if times[0] > 120 and times[-1] - times[0] < len(times) + 20]
    assert once, "the scene has something that comes once"
    near = []
    for name in once[:6]:
        end = client.ask(f"what was there before the {name} came?", explain=True)
        assert end.explanation is not None
        assert end.explanation.event == f"the {name} came"
        assert "between" in end.explanation.question
        assert end.since_ns is not None
        assert end.until_ns is not None
        assert end.until_ns - end.since_ns == 300 * 10**9 - 1
        first_ns = SCENE.start_ns + seen[name][0] * 10**9
        near.append(abs(end.until_ns - first_ns) < 60 * 10**9)
    assert sum(near) >= len(near) - 1, near


def test_all_of_a_time_is_asked_part_by_part_with_evidence_of_each(client: Client) -> None:
    end = client.ask("what happened between 14:01:00 and 14:09:00?", explain=True)
    assert end.explanation is not None
    parts = end.explanation.parts
    assert len(parts) == 8
    listed = end.text.split(" and ")
    assert len(listed) == len(set(listed))
    for part in parts:
        if part not in ("nothing", "none", "i don't know"):
            assert set(part.split(" and ")) <= set(listed)
    first_ns, last_ns = (min(e.start_ns for e in end.evidence), max(e.start_ns for e in end.evidence))
    assert last_ns - first_ns > 5 * 60 * 10**9
    assert all(e.picture for e in end.evidence)


def test_evidence_is_ordered_by_use_and_its_shares_are_those_of_the_explanation(client: Client) -> None:
    end = client.ask("when did the lamp go on?", explain=True)
    assert end.explanation is not None
    use = [evidence.use for evidence in end.evidence]
    assert use == sorted(use, reverse=True)
    of_candidates = {candidate.block_id: candidate for candidate in end.explanation.candidates}
    assert [of_candidates[e.block_id].use for e in end.evidence] == use
    assert sum(candidate.use for candidate in of_candidates.values()) == pytest.approx(1, abs=1e-3)
    assert {c.block_id for c in of_candidates.values() if c.tier in ("ram", "disk")} == {*end.recalled}
    assert [step.name for step in end.explanation.steps][:2] == ["time", "rank"]


def longwatch(daemon: DaemonProcess, folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "LONGWATCH_ADDRESS": daemon.address, "COLUMNS": "160"}
    command = [sys.executable, "-m", "longwatch.clients.cli", *arguments]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_command_line_explains_an_answer(daemon: DaemonProcess, tmp_path: Path) -> None:
    printed = longwatch(daemon, tmp_path, "ask", "was the door open at 14:03:20?", "--explain")
    assert 'time: 2026-03-02 14:03:18 to 2026-03-02 14:03:22, from the words "at 14:03:20"' in printed
    assert "from ram" in printed
    assert "rank " in printed
    assert "recalled from" in printed
    found = json.loads(longwatch(daemon, tmp_path, "ask", "did a dog come?", "--explain", "--json"))
    candidates = found["explanation"]["candidates"]
    assert {candidate["tier"] for candidate in candidates} >= {"ram", "window"}
    others = [candidate for candidate in candidates if not candidate["tier"]]
    assert len(others) > 12
    printed = longwatch(daemon, tmp_path, "ask", "did a dog come?", "--explain")
    assert f"and {len(others) - 12} more with lower scores" in printed
    assert f"\n {others[11]['block_id']} " in printed
    assert f"\n {others[12]['block_id']} " not in printed
    assert json.loads(longwatch(daemon, tmp_path, "ask", "did a dog come?", "--json"))["explanation"] is None
