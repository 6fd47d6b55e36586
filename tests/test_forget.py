"""Forgetting, with a real daemon: nothing of it is found, asked, shown or left on the disk, also after a restart."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from longwatch.clients.errors import Refused
from longwatch.memory.book import Book
from longwatch.yard.scene import Scene

from .capture.web_camera import WebCamera
from .daemon_process import DaemonProcess

pytestmark = pytest.mark.slow

TEN_NS = 1_772_445_600_000_000_000  # 2026-03-02 10:00 UTC
SECOND_NS = 1_000_000_000


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    """A daemon that watched three minutes of the yard from ten o'clock on."""
    stream = '[streams.yard]\nurl = "scene://?seed=2&minutes=3&start=2026-03-02T10:00:00&busy=0.6"\npace = "fast"\n'
    with DaemonProcess(tmp_path, stream) as process:
        process.wait(lambda s: s.streams[0].state == "ended" and not s.queued_blocks)
        yield process


def on_disk(daemon: DaemonProcess) -> bytes:
    return b"".join(file.read_bytes() for file in (daemon.folder / "store").rglob("data.mdb"))


def longwatch(daemon: DaemonProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "longwatch.clients.cli", *arguments, "--address", daemon.address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_forgotten_minute_is_gone_from_answers_and_files_for_good(daemon: DaemonProcess) -> None:
    minute = (TEN_NS + 60 * SECOND_NS, TEN_NS + 120 * SECOND_NS)
    seen = daemon.client.ask("what was there?", since_ns=minute[0], until_ns=minute[1]).evidence
    earlier = daemon.client.ask("what was there?", until_ns=minute[0] - SECOND_NS).evidence
    assert len(seen) > 2
    assert all(e.picture in on_disk(daemon) for e in [*seen, *earlier])
    before = daemon.client.status().streams[0]

    done = longwatch(daemon, "forget", "--stream", "yard", "--from", "10:01:00", "--to", "10:02:00")
    assert (done.returncode, done.stderr) == (0, "")
    count = int(done.stdout.split()[1])
    assert done.stdout == (f"yard: {count} blocks from 2026-03-02 10:01:00 to 2026-03-02 10:02:00 are forgotten\n")
    files = on_disk(daemon)
    assert not any(e.picture in files for e in seen)
    assert all(e.picture in files for e in earlier)
    for _ in range(2):  # and again after a restart
        assert daemon.client.status().streams[0].blocks == before.blocks - count
        for question in ("what was there at 10:01:30?", "did a red car appear?", "what happened?"):
            spans = [(e.start_ns, e.end_ns) for e in daemon.client.ask(question, stream="yard").evidence]
            assert not any(start <= minute[1] and end >= minute[0] for start, end in spans)
        daemon.stop()
        daemon.start()


def test_the_newest_minutes_are_forgotten_with_the_window_and_watching_goes_on(tmp_path: Path) -> None:
    stream = '[streams.yard]\nurl = "scene://?seed=2&start=2026-03-02T10:00:00&busy=0.8"\nfps = 4\n'
    with DaemonProcess(tmp_path, stream) as daemon:
        seen = daemon.wait(lambda s: s.streams[0].blocks >= 12).streams[0]
        forgotten = daemon.client.forget("yard", seen.first_ns, None)
        assert forgotten >= 12
        later = daemon.wait(lambda s: s.streams[0].blocks >= 3)
        assert later.streams[0].first_ns > seen.last_ns
        assert all(later.threads.values())
        end = daemon.client.ask("what is there now?")
        assert min(e.start_ns for e in end.evidence) > seen.last_ns
        assert min(e.block_id for e in end.evidence) > forgotten


def test_forgetting_says_what_it_cannot_do(daemon: DaemonProcess) -> None:
    nothing = longwatch(daemon, "forget", "--stream", "yard")
    assert (nothing.returncode, nothing.stderr) == (2, "longwatch: say what to forget: --from, --to or both\n")
    with pytest.raises(Refused, match="no stream garden"):
        daemon.client.forget("garden", None, TEN_NS)
    assert daemon.client.forget("yard", TEN_NS + 3600 * SECOND_NS, None) == 0


def test_a_forgotten_tail_of_a_recording_is_not_seen_again_at_the_next_start(daemon: DaemonProcess) -> None:
    before = daemon.client.status().streams[0]
    since_ns = TEN_NS + 120 * SECOND_NS
    forgotten = daemon.client.forget("yard", since_ns, None)
    assert 0 < forgotten < before.blocks
    daemon.stop()
    daemon.start()
    (again,) = daemon.wait(lambda s: s.streams[0].state == "ended" and not s.queued_blocks).streams
    assert again.blocks == before.blocks - forgotten
    assert not daemon.client.ask("what was there?", since_ns=since_ns + SECOND_NS).evidence


def test_a_still_scene_whose_only_frame_is_forgotten_is_seen_again_at_once(tmp_path: Path) -> None:
    picture = Scene(seed=11).render(0)
    with (
        WebCamera(lambda _: picture) as camera,
        DaemonProcess(tmp_path, f'[streams.cam]\nurl = "{camera.url}"\nfps = 5\n') as daemon,
    ):
        before = daemon.wait(lambda s: s.streams[0].blocks == 1 and s.streams[0].frames > 10).streams[0]
        assert daemon.client.forget("cam", None, before.last_ns) == 1
        after = daemon.wait(lambda s: s.streams[0].blocks == 1).streams[0]
        assert after.first_ns > before.last_ns
        assert after.first_ns < before.last_ns + 10 * SECOND_NS


def test_a_camera_goes_on_where_the_clock_is_though_a_time_to_come_was_forgotten(tmp_path: Path) -> None:
    with (
        WebCamera(lambda number: Scene(seed=11).render(number)) as camera,
        DaemonProcess(tmp_path, f'[streams.cam]\nurl = "{camera.url}"\nfps = 5\n') as daemon,
    ):
        daemon.wait(lambda s: s.streams[0].durable_id > 2)
        daemon.stop()
        book = Book(tmp_path / "store")
        book.note_seen("cam", time.time_ns() + 365 * 86_400 * SECOND_NS)
        book.close()
        time.sleep(7)  # a shorter pause is not worth a gap
        daemon.start()
        status = daemon.wait(lambda s: bool(s.streams[0].gaps))
        (gap,) = status.streams[0].gaps
        assert 5 * SECOND_NS < gap.end_ns - gap.start_ns < 60 * SECOND_NS
