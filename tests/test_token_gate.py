"""The token gate in a real daemon: less is kept, and a restart finds the same window and gives the same answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from longwatch.memory.settings import MemoryConfig
from longwatch.memory.store import Store

from .daemon_process import DaemonProcess

STREAM = '[streams.yard]\nurl = "scene://?seed=2&minutes=4&start=2026-03-02T14:00:00&busy=0.8"\npace = "fast"\n'
QUESTIONS = ("was the door open at 14:02:10?", "did a red car appear?", "how many things are there now?")
CLOCK, WHOLE = 8, 24


def kept_by(folder: Path, gate_cosine: float) -> list[int]:
    """How many tokens each block of a watched scene has; asked before and after a kill."""
    folder.mkdir()
    with DaemonProcess(folder, f"{STREAM}gate_cosine = {gate_cosine}\n") as daemon:
        daemon.wait(lambda s: s.streams[0].state == "ended" and not s.queued_blocks)
        before = [daemon.client.ask(question) for question in QUESTIONS]
        daemon.kill()
        daemon.start()
        after = [daemon.client.ask(question) for question in QUESTIONS]
        assert [(a.text, a.recalled) for a in after] == [(b.text, b.recalled) for b in before]
        assert daemon.client.status().damaged_blocks == 0
    store = Store(MemoryConfig(folder=str(folder / "store"), map_bytes=1 << 30))
    tokens = [info.tokens for info in store.infos("yard")]
    store.close()
    return tokens


@pytest.mark.slow
def test_what_does_not_change_is_encoded_once_and_a_kill_changes_no_answer(tmp_path: Path) -> None:
    everything, gated = (kept_by(tmp_path / f"gate{cosine}", cosine) for cosine in (1.0, 0.9))
    assert set(everything) == {WHOLE}
    assert gated[0] == WHOLE
    assert CLOCK < min(gated) < WHOLE
    assert sum(gated) < 0.8 * sum(everything)
