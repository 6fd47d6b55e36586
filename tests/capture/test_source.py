"""Sources read in this process: which frames, when, and that reading can be taken up anywhere."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from longwatch.daemon.capture.message import CaptureTask
from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.capture.source import open_source, start_of
from longwatch.daemon.errors import CaptureError
from longwatch.yard.scene import Scene

from . import numbered

SECOND_NS = 1_000_000_000
YARD = "scene://?seed=3&minutes=0.5&start=2026-03-02T14:00:00"


def read_all(url: str, fps: float, after_ns: int = -1) -> list[tuple[int, int, int]]:
    """Time in the source, UTC and number (or a checksum) of every frame."""
    config = SourceConfig(url=url, fps=fps, pace="fast", start="2026-03-02T14:00:00")
    source = open_source(CaptureTask(config, start_of(config), after_ns))
    frames = [(f.pts_ns, f.utc_ns, numbered.read(f.image)) for f in source]
    source.close()
    return frames


@pytest.mark.parametrize(("clip_fps", "fps", "step"), [(10, 10, 1), (10, 2, 5), (30, 1, 30), (10, 30, 1), (15, 5, 3)])
def test_a_file_gives_its_frames_in_order_at_the_rate_asked_for(
    tmp_path: Path, clip_fps: float, fps: float, step: int
) -> None:
    clip = numbered.write_clip(tmp_path / "clip.mp4", frames=61, fps=clip_fps)
    frames = read_all(str(clip), fps)
    assert [number for _, _, number in frames] == list(range(0, 61, step))
    start = 1_772_460_000 * SECOND_NS
    for pts_ns, utc_ns, number in frames:
        assert pts_ns == pytest.approx(number / clip_fps * SECOND_NS, abs=1e6)
        assert utc_ns == start + pts_ns


@pytest.mark.parametrize(("name", "fourcc"), [("clip.mkv", "mp4v"), ("clip.avi", "MJPG")])
def test_no_frame_is_lost_where_a_file_rounds_its_times(tmp_path: Path, name: str, fourcc: str) -> None:
    clip = numbered.write_clip(tmp_path / name, frames=60, fps=30, fourcc=fourcc)
    assert [number for _, _, number in read_all(str(clip), fps=30)] == list(range(60))


@pytest.mark.parametrize("fps", [0.7, 3, 10, 24])
def test_a_file_is_taken_up_behind_any_frame_without_loss_or_repetition(tmp_path: Path, fps: float) -> None:
    clip = str(numbered.write_clip(tmp_path / "clip.mp4", frames=40, fps=10))
    whole = read_all(clip, fps)
    for i in range(0, len(whole), 3):
        assert read_all(clip, fps, after_ns=whole[i][0]) == whole[i + 1 :]


def test_a_long_file_is_taken_up_far_inside(tmp_path: Path) -> None:
    clip = str(numbered.write_clip(tmp_path / "clip.mp4", frames=400, fps=10))
    whole = read_all(clip, fps=1)
    assert read_all(clip, fps=1, after_ns=whole[30][0]) == whole[31:]


@pytest.mark.parametrize("fps", [0.3, 1, 7, 29.97])
def test_the_scene_is_taken_up_behind_any_frame_without_loss_or_repetition(fps: float) -> None:
    whole = read_all(YARD, fps)
    assert len(whole) == -(-int(30 * fps * 100) // 100)
    for i in range(0, len(whole), max(1, len(whole) // 7)):
        assert read_all(YARD, fps, after_ns=whole[i][0]) == whole[i + 1 :]


def test_the_scene_source_shows_the_scene() -> None:
    config = SourceConfig(url=YARD, pace="fast")
    scene = Scene.from_url(YARD)
    for frame in open_source(CaptureTask(config, start_of(config), -1)):
        np.testing.assert_array_equal(frame.image, scene.render(frame.pts_ns / SECOND_NS))
        assert frame.utc_ns == scene.start_ns + frame.pts_ns


@pytest.mark.parametrize("kind", ["scene", "file"])
def test_at_real_pace_a_second_takes_a_second(tmp_path: Path, kind: str) -> None:
    clip = numbered.write_clip(tmp_path / "clip.mp4", frames=20, fps=10)
    config = SourceConfig(url=YARD if kind == "scene" else str(clip), fps=10)
    source = open_source(CaptureTask(config, 0, -1))
    began = time.monotonic()
    for frame in source:
        assert time.monotonic() - began >= frame.pts_ns / SECOND_NS - 0.01
        if frame.pts_ns >= 0.7 * SECOND_NS:
            break
    source.close()
    assert source.live


def test_the_configured_start_goes_before_the_one_in_the_scenes_address() -> None:
    assert start_of(SourceConfig(url=YARD)) == 1_772_460_000 * SECOND_NS
    assert start_of(SourceConfig(url=YARD, start="2026-03-02T15:00:00")) == 1_772_463_600 * SECOND_NS
    with pytest.raises(CaptureError, match="write it as"):
        start_of(SourceConfig(url=YARD, start="yesterday"))
