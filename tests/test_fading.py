"""Fading in a real daemon: a past day takes less room, and its moments are still found and shown."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from .daemon_process import DaemonProcess


@pytest.mark.slow
def test_a_past_day_fades_while_the_daemon_watches_and_is_found_as_before(tmp_path: Path) -> None:
    stream = '[streams.yard]\nurl = "scene://?seed=2&minutes=4&start=2026-03-02T23:57:00&busy=0.8"\npace = "fast"\n'
    day = tmp_path / "store" / "yard" / "2026-03-02" / "data.mdb"
    memory = 'codec = "ecsq4"\nkeep_days = 0\nfade = [{ days = 0, codec = "ecsq1", tokens = 0.5 }]'
    with DaemonProcess(tmp_path, stream, memory) as daemon:
        daemon.wait(lambda s: s.streams[0].state == "ended" and not s.queued_blocks)
        before, asked = day.stat().st_blocks, "what was there at 23:58:10?"
        seen = {(e.block_id, e.picture) for e in daemon.client.ask(asked).evidence}
        assert seen
        daemon.stop()
        daemon.start()  # what is due is looked for as it starts, and every minute
        deadline = time.monotonic() + 60
        while "day faded" not in daemon.log.read_text():
            assert time.monotonic() < deadline, daemon.log.read_text()[-2000:]
            time.sleep(0.1)
        assert day.stat().st_blocks < before
        assert {(e.block_id, e.picture) for e in daemon.client.ask(asked).evidence} == seen
        status = daemon.client.status()
        assert status.damaged_blocks == 0
        assert "not faded" not in daemon.log.read_text()
