"""A stream that is given another recording reads it whole; one that goes on with the same goes on where it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from longwatch.clients.client import Client
from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.stream.last_read import find_others_id
from longwatch.memory.book import Book

from .daemon_process import DaemonProcess

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def scene(hours: int, minutes: float = 0.1) -> dict[str, Any]:
    """Six seconds of the yard, so many hours after noon."""
    start = f"{NOON + timedelta(hours=hours):%Y-%m-%dT%H:%M:%S}"
    return {"url": f"scene://?seed=3&minutes={minutes}&start={start}", "pace": "fast", "gate_levels": 0}


def read(daemon: DaemonProcess, source: dict[str, Any]) -> list[int]:
    """Adds the stream, waits for its end, and removes it. Returns the number of blocks before and after."""
    client: Client = daemon.client
    before = sum(stream.blocks for stream in client.status().streams)
    client.add_stream("yard", **source)
    after = daemon.wait(lambda s: s.streams[0].state == "ended" and not s.queued_blocks).streams[0].blocks
    client.remove_stream("yard")
    return [before, after]


@pytest.fixture
def daemon(tmp_path: Path) -> Any:
    """A daemon without streams."""
    with DaemonProcess(tmp_path, "") as process:
        yield process


@pytest.mark.slow
def test_an_earlier_recording_is_read_whole_though_all_of_a_later_one_was_forgotten(daemon: DaemonProcess) -> None:
    assert read(daemon, scene(2)) == [0, 6]
    assert daemon.client.forget("yard", 0, None) == 6
    assert read(daemon, scene(0)) == [0, 6]
    assert daemon.client.forget("yard", 0, None) == 6
    assert read(daemon, scene(0)) == [0, 0], "what was forgotten of the same recording is not read again"
    assert read(daemon, scene(0, 0.2)) == [0, 6], "but what comes behind it is"


@pytest.mark.slow
def test_an_earlier_recording_is_read_whole_after_a_later_one_and_goes_on_after_a_restart(
    daemon: DaemonProcess,
) -> None:
    assert read(daemon, scene(2)) == [0, 6]
    assert read(daemon, scene(0)) == [6, 12]
    daemon.stop()
    daemon.start()
    assert read(daemon, scene(0)) == [12, 12]
    assert read(daemon, scene(0, 0.2)) == [12, 18]


def test_a_moved_file_is_the_same_and_a_camera_or_another_file_is_not(tmp_path: Path) -> None:
    book = Book(tmp_path)
    clip, moved, other = (tmp_path / f"{name}.mp4" for name in ("clip", "moved", "other"))

    def others_id(url: object, start_ns: int, newest_id: int) -> int:
        book.note_seen("yard", newest_id)
        return find_others_id("yard", SourceConfig(url=str(url)), start_ns, newest_id, book)

    clip.write_bytes(b"one")
    assert others_id(clip, 5, 7) == 0, "a store of an earlier version goes on with what it had"
    clip.rename(moved)
    assert others_id(moved, 5, 8) == 0
    assert others_id(clip, 5, 8) == 0, "what is not there now is not known to be another"
    clip.write_bytes(b"one and more")
    assert others_id(clip, 5, 8) == 0, "a file that is still written to changes, its head too"
    other.write_bytes(b"two")
    assert others_id(other, 5, 9) == 9
    assert book.seen_ns("yard") == 0
    assert others_id(other, 5, 10) == 9
    assert others_id(clip, 6, 10) == 10
    assert others_id("rtsp://cam/", 0, 11) == 11
    assert others_id("rtsp://other/", 0, 12) == 11
    assert book.seen_ns("yard") == 12
    assert others_id(clip, 6, 12) == 12
    book.close()
