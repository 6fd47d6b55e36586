"""Files and scenes through a real capture process: nothing lost, nothing twice, clear words for what is no video."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from longwatch.daemon.capture.child import CaptureChild
from longwatch.daemon.capture.message import Frame, Gap, Message, SourceEnd, SourceFailure, StillFrame

from . import numbered
from .conftest import Watch, take


def ended(messages: list[Message]) -> bool:
    """Whether the last message was that nothing more comes."""
    return bool(messages) and isinstance(messages[-1], SourceEnd | SourceFailure)


def numbers(messages: list[Message]) -> list[int]:
    """What the pictures carry."""
    return [numbered.read(m.image) for m in messages if isinstance(m, Frame)]


def test_a_file_at_fast_pace_gives_every_frame_though_it_is_read_slowly(watch: Watch, tmp_path: Path) -> None:
    clip = numbered.write_clip(tmp_path / "clip.mp4", frames=60, fps=10)
    child = watch(str(clip), fps=5, pace="fast", start="2026-03-02T14:00:00", stall_seconds=0.2, gate_levels=0)
    messages = take(child, lambda m: len(m) == 3)
    time.sleep(1)  # longer than stall_seconds: a reader that is busy is no stall
    messages += take(child, ended)
    assert numbers(messages) == list(range(0, 60, 2))
    assert (child.state, child.last_error, child.dropped, child.restarts) == ("ended", "", 0, 0)
    assert child.next(0) is None


def test_a_process_that_is_killed_goes_on_in_its_file_where_it_was(watch: Watch, tmp_path: Path) -> None:
    clip = numbered.write_clip(tmp_path / "clip.mp4", frames=40, fps=10)
    child = watch(str(clip), fps=10, pace="fast", gate_levels=0)
    messages = take(child, lambda m: len(m) == 7)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    messages += take(child, ended)
    assert numbers(messages) == list(range(40))
    assert child.restarts == 1
    times = [m.utc_ns for m in messages if isinstance(m, Frame)]
    assert np.diff(times) == pytest.approx(1e8, abs=1e6)


def test_a_scene_at_real_pace_runs_on_while_its_process_is_dead(watch: Watch) -> None:
    child = watch("scene://?seed=3", fps=10)
    before = take(child, lambda m: len(m) == 3)[-1]
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    messages = take(child, lambda m: m and isinstance(m[-1], Gap))
    assert "SIGKILL" in child.last_error or child.state == "watching"
    gap, frame = messages[-1], child.next(1)
    assert isinstance(before, Frame | StillFrame)
    assert isinstance(gap, Gap)
    assert isinstance(frame, Frame)
    assert "SIGKILL" in gap.reason
    assert before.utc_ns <= gap.start_ns < gap.end_ns == frame.utc_ns


def test_a_still_frame_costs_neither_pixels_nor_a_picture(watch: Watch) -> None:
    child = watch("scene://?seed=3&busy=0&minutes=0.2", fps=1, pace="fast", picture_pixels=96)
    first, *others = take(child, ended)
    assert isinstance(first, Frame)
    picture = cv2.imdecode(np.frombuffer(first.picture, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (72, 96, 3)
    assert first.image.shape == (288, 384, 3)
    assert [type(message) for message in others] == [StillFrame] * 11 + [SourceEnd]


def test_a_file_on_a_web_server_is_a_recording(watch: Watch, tmp_path: Path) -> None:
    numbered.write_clip(tmp_path / "clip.mp4", frames=30, fps=10)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.func.log_message = lambda *_: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        child = watch(f"http://127.0.0.1:{server.server_port}/clip.mp4", fps=10, pace="fast", gate_levels=0)
        assert numbers(take(child, ended)) == list(range(30))
        missing = watch(f"http://ann:secret@127.0.0.1:{server.server_port}/none.mp4")
        take(missing, lambda _: missing.last_error)
        assert missing.state == "reconnecting"
        assert "the server has no such stream" in missing.last_error
        assert "secret" not in missing.last_error
        server.shutdown()


def test_a_file_whose_pictures_are_damaged_is_read_to_its_end(watch: Watch, tmp_path: Path) -> None:
    clip = numbered.write_clip(tmp_path / "clip.mp4", frames=20, fps=10)
    whole = clip.read_bytes()
    index = whole[whole.rindex(b"moov") - 4 :]
    clip.write_bytes(whole[:2000] + bytes(len(whole) - 2000 - len(index)) + index)
    child = watch(str(clip), pace="fast", fps=10)
    take(child, ended)
    assert child.over
    assert child.restarts == 0


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda clip: b"", "the file is empty"),
        (lambda clip: b"this is no video at all", "it is not a video, or it is damaged or cut off"),
        (lambda clip: clip[: len(clip) // 2], "it is not a video, or it is damaged or cut off"),
    ],
    ids=["empty", "text", "cut off"],
)
def test_a_file_that_is_no_video_fails_once_and_for_all_in_one_sentence(
    watch: Watch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    make: Callable[[bytes], bytes],
    sentence: str,
) -> None:
    clip = numbered.write_clip(tmp_path / "whole.mp4", frames=20, fps=10)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(make(clip.read_bytes()))
    capfd.readouterr()
    child: CaptureChild = watch(str(bad), pace="fast")
    [failed] = take(child, ended)
    assert isinstance(failed, SourceFailure)
    assert failed.final
    assert child.restarts == 0
    assert child.state == "failed"
    assert child.last_error == failed.reason
    assert "\n" not in failed.reason
    assert failed.reason.startswith(f"{bad}: ")
    assert sentence in failed.reason
    assert capfd.readouterr() == ("", "")
