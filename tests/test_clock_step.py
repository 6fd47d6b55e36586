"""A real daemon watches a real camera while the machine's clock is set ahead and back."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from shiftedclock import ShiftedClock

from longwatch.daemon.protocol import StatusReply
from longwatch.yard.scene import Scene

from .capture.web_camera import WebCamera
from .daemon_process import DaemonProcess

pytestmark = pytest.mark.slow

SCENE = Scene(seed=11, busy=0.5)
SECOND_NS = 1_000_000_000
HOUR = 3600


def follows(status: StatusReply, ahead_seconds: int) -> bool:
    """Whether the stream's newest frame is of the time that the clock shows now."""
    return abs(status.streams[0].last_ns - time.time_ns() - ahead_seconds * SECOND_NS) < 3 * SECOND_NS


def test_the_stream_follows_a_clock_that_is_set_and_each_step_is_a_gap_with_its_reason(tmp_path: Path) -> None:
    clock = ShiftedClock(tmp_path)
    if clock.trouble:
        pytest.skip(clock.trouble)
    clock.shift(2 * HOUR)
    with WebCamera(lambda number: SCENE.render(number / 5)) as camera:
        stream = f'[streams.cam]\nurl = "{camera.url}"\nfps = 3\ngate_levels = 0\n'
        with DaemonProcess(tmp_path, stream) as daemon:
            daemon.kill()
            daemon.start(
                "env", *(f"{k}={v}" for k, v in clock.environment.items() if k in ("LD_PRELOAD", "FAKETIME_AHEAD"))
            )
            daemon.wait(lambda s: s.streams[0].blocks > 5 and follows(s, 2 * HOUR))
            clock.shift(0)  # as a machine without a clock of its own does once it reaches the network
            daemon.wait(lambda s: follows(s, 0))
            before = daemon.client.status().streams[0]
            time.sleep(3)
            after = daemon.client.status().streams[0]
            passed = (after.last_ns - before.last_ns) / SECOND_NS
            assert 2 < passed < 5, f"{passed} s in three, over {after.blocks - before.blocks} blocks"
            end = daemon.client.ask("what was there?", since_ns=before.last_ns, until_ns=after.last_ns)
            assert end.evidence, "what was seen since is found by the time that the clock shows"
            clock.shift(24 * HOUR)
            daemon.wait(lambda s: follows(s, 24 * HOUR))
            reasons = [event.text for event in daemon.client.events_since(0).events if event.kind == "gap"]
            assert any("set back" in reason for reason in reasons), reasons
            assert any("ahead" in reason for reason in reasons), reasons
            longest = max(daemon.client.status().streams[0].gaps, key=lambda gap: gap.end_ns - gap.start_ns)
            assert longest.end_ns - longest.start_ns > 23 * HOUR * SECOND_NS


def test_no_start_under_a_clock_a_year_ahead_drops_what_was_seen_before(tmp_path: Path) -> None:
    clock = ShiftedClock(tmp_path)
    if clock.trouble:
        pytest.skip(clock.trouble)
    ahead = ("env", *(f"{k}={v}" for k, v in clock.environment.items() if k in ("LD_PRELOAD", "FAKETIME_AHEAD")))
    with WebCamera(lambda number: SCENE.render(number / 5)) as camera:
        stream = f'[streams.cam]\nurl = "{camera.url}"\nfps = 3\ngate_levels = 0\n'
        with DaemonProcess(tmp_path, stream, "notice_seconds = 0") as daemon:
            daemon.wait(lambda s: s.streams[0].durable_id > 5)
            daemon.kill()
            shutil.copytree(tmp_path / "store" / "cam", tmp_path / "store" / "old")  # a stream that nobody watches
            clock.shift(365 * 24 * HOUR)
            daemon.start(*ahead)
            daemon.wait(lambda s: follows(s, 365 * 24 * HOUR) and s.streams[0].durable_id > 20)
            daemon.kill()
            daemon.start(*ahead)  # and finds blocks that were stored under the same clock
            status = daemon.wait(lambda s: bool(s.dropping), 20)
            assert [(each.stream, each.reason) for each in status.dropping] == [
                ("old", "memory.keep_days: older than 30 days")
            ]
            assert "day forgotten" not in daemon.log.read_text()
