"""A recording without a configured start has the same time at every start; its content identifies it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.stream.first_read import first_read_ns
from longwatch.memory.book import Book

from .capture import numbered
from .daemon_process import DaemonProcess


def test_a_file_is_recognised_by_its_content_and_another_one_begins_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_772_460_000
    monkeypatch.setattr("time.time_ns", lambda: now * 10**9)
    clip, book = tmp_path / "clip.mp4", Book(tmp_path)

    def read(url: str) -> int | None:
        return first_read_ns("yard", SourceConfig(url=url), book)

    clip.write_bytes(b"one")
    assert read(str(clip)) == now * 10**9
    now += 60
    assert read(str(clip)) == (now - 60) * 10**9
    clip.rename(tmp_path / "moved.mp4")
    assert read(f"file://{tmp_path}/moved.mp4") == (now - 60) * 10**9
    clip.write_bytes(b"another")
    assert read(str(clip)) == now * 10**9
    now += 60
    book.close()
    book = Book(tmp_path)
    assert read(str(clip)) == (now - 60) * 10**9
    book.close()


def test_whoever_says_a_start_is_believed_and_cameras_have_none(tmp_path: Path) -> None:
    book = Book(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"one")
    for source in (
        SourceConfig(url=str(tmp_path / "clip.mp4"), start="2026-03-02T14:00:00"),
        SourceConfig(url="scene://?start=2026-03-02T14:00:00"),
        SourceConfig(url="rtsp://cam/"),
        SourceConfig(url="/dev/video0"),
        SourceConfig(url=str(tmp_path / "none.mp4")),
    ):
        assert first_read_ns("yard", source, book) is None
    assert first_read_ns("yard", SourceConfig(url="scene://?seed=1"), book) is not None
    book.close()


@pytest.mark.slow
def test_a_clip_is_remembered_once_however_often_the_daemon_starts(tmp_path: Path) -> None:
    clip = numbered.write_clip(tmp_path / "clip.mp4", frames=40, fps=10)
    stream = f'[streams.clip]\nurl = "{clip}"\nfps = 2\npace = "fast"\ngate_levels = 0\n'
    with DaemonProcess(tmp_path, stream) as daemon:
        seen = []
        for _ in range(3):
            status = daemon.wait(lambda s: s.streams[0].state == "ended" and not s.queued_blocks)
            seen.append((status.streams[0].blocks, status.streams[0].first_ns, status.streams[0].last_ns))
            daemon.stop()
            daemon.start()
        assert seen == [seen[0]] * 3
        assert seen[0][0] == 8


def test_what_is_no_plain_file_keeps_nobody_waiting_and_has_no_start(tmp_path: Path) -> None:
    book = Book(tmp_path)
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    began = time.monotonic()
    for path in (str(tmp_path / "pipe.mp4"), str(tmp_path / "folder.mp4"), "no\0path.mp4"):
        assert first_read_ns("yard", SourceConfig(url=path), book) is None
    assert time.monotonic() - began < 4
    book.close()


@pytest.mark.slow
def test_a_pipe_among_the_streams_is_said_to_be_no_file_and_the_others_are_watched(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    streams = f'[streams.pipe]\nurl = "{tmp_path}/pipe.mp4"\n[streams.yard]\nurl = "scene://?seed=3"\n'
    with DaemonProcess(tmp_path, streams) as daemon:
        status = daemon.wait(lambda s: s.streams[0].state == "failed" and s.streams[1].blocks)
        assert status.streams[0].last_error == f"{tmp_path}/pipe.mp4: there is no such file"
