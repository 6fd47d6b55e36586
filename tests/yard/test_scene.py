"""The rendered yard: the same again, and true."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from longwatch.yard.clip import write_clip, write_truth
from longwatch.yard.errors import YardError
from longwatch.yard.paint import paint
from longwatch.yard.scene import Scene
from longwatch.yard.state import WIDTH


def test_any_second_is_the_same_whatever_was_rendered_before() -> None:
    late_first = Scene(seed=5).render(4000.5)
    scene = Scene(seed=5)
    for t in range(0, 100, 9):
        scene.render(t)
    assert np.array_equal(scene.render(4000.5), late_first)
    assert not np.array_equal(Scene(seed=6).render(4000.5), late_first)


def test_the_truth_log_tells_every_visit_and_change_in_order() -> None:
    scene = Scene(seed=9, start_ns=10**18, busy=0.5)
    log = scene.truth(0, 1800)
    times = [int(str(entry["time_ns"])) for entry in log]
    assert times == sorted(times)
    assert {entry["event"] for entry in log} == {"enter", "leave", "left", "taken", "door", "lamp", "gate", "sign"}
    for device in ("door", "gate"):
        changes = {(t - 10**18) / 1e9: e["what"] for t, e in zip(times, log, strict=True) if e["event"] == device}
        now = "?"
        for t in range(1800):
            now = str(changes.get(t, now))
            assert (now == "open") == getattr(scene.state(t), f"{device}_open")


def test_what_is_left_behind_stands_alone_until_another_takes_it() -> None:
    scene = Scene(seed=9, busy=0.5)
    log = scene.truth(0, 1800)
    for entry in log:
        if entry["event"] != "left":
            continue
        after = int(str(entry["time_ns"])) / 1e9 + 8
        taken = next(
            e for e in log if e["event"] == "taken" and e["what"] == entry["what"] and e["time_ns"] > entry["time_ns"]
        )
        assert entry["by"] != taken["by"]
        there = {f"{t.colour} {t.kind}": t for t in scene.state(after).things}
        assert there[str(entry["what"])].left_by == entry["by"]
        assert f"{there[str(entry['what'])].taken_by}" == taken["by"]


def test_a_visit_stands_in_its_place_for_its_stay_and_is_outside_the_picture_before_and_after() -> None:
    visits = list(Scene(seed=9, busy=0.5).visits(0, 1800))
    assert visits
    for visit in visits:
        assert visit.find_x(visit.start - 0.1) is visit.find_x(visit.end + 0.1) is None
        assert {visit.find_x(visit.arrive), visit.find_x(visit.depart)} == {visit.target_x}
        for t in (visit.start, visit.end):
            x = visit.find_x(t)
            assert x is not None
            assert not 0 <= x < WIDTH


def test_a_day_is_reached_without_rendering_what_lies_before_and_has_empty_hours() -> None:
    scene = Scene(seed=4, busy=0.4)
    visits = [len(list(scene.visits(hour * 3600, hour * 3600 + 3599))) for hour in range(24)]
    assert min(visits) <= 2
    assert max(visits) > 40
    assert scene.render(23 * 3600 + 0.5).shape == (288, 384, 3)


def test_nights_are_dark_and_a_larger_picture_is_the_same_picture() -> None:
    noon, night = (Scene(seed=2, start_ns=hour * 3600 * 10**9) for hour in (13, 2))
    assert night.render(5).mean() < 0.65 * noon.render(5).mean()
    large = Scene.from_url("scene://?seed=2&size=768x576&start=1970-01-01T13:00:00").render(5)
    assert large.shape == (576, 768, 3)
    assert np.abs(large[::2, ::2].astype(int) - noon.render(5)).mean() < 8


def test_what_is_in_the_state_is_in_the_picture() -> None:
    """A yard with a thing differs from the same yard without it, where the thing stands."""
    scene = Scene(seed=3, busy=1.0)
    t = next(t for t in range(300) if any(not thing.half_seen for thing in scene.state(t).things))
    thing = next(thing for thing in scene.state(t).things if not thing.half_seen)
    state, rng = scene.state(t), np.random.default_rng
    without = paint(state._replace(things=()), 3, rng(1))
    difference = np.abs(paint(state, 3, rng(1)).astype(int) - without.astype(int)).max(2)
    top, left = thing.lane * 72, int(thing.x) - 20
    assert (difference[top : top + 72, left : left + 40] > 40).mean() > 0.15


@pytest.mark.parametrize(
    "url",
    [
        "scene://?sed=1",
        "scene://?seed=x",
        "scene://?busy=2",
        "scene://?minutes=-1",
        "scene://?size=9x9",
        "scene://?size=big",
    ],
)
def test_a_scene_that_cannot_be_is_one_sentence(url: str) -> None:
    with pytest.raises(YardError, match="scene://"):
        Scene.from_url(url)


def test_a_clip_and_its_truth_log_are_what_the_scene_is(tmp_path: Path) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    scene, show = Scene(seed=5, busy=0.5, width=320, height=240), Console(quiet=True)
    assert write_clip(scene, 3, 5, tmp_path / "clip.mp4", show) == 15
    clip = cv2.VideoCapture(str(tmp_path / "clip.mp4"))
    assert clip.get(cv2.CAP_PROP_FPS) == 5
    frames = [image for ok, image in iter(clip.read, (False, None)) if ok]
    assert len(frames) == 15
    assert np.abs(frames[7].astype(int) - scene.render(7 / 5)).mean() < 6
    assert write_truth(scene, 60, tmp_path / "clip.jsonl") == len((tmp_path / "clip.jsonl").read_text().splitlines())


def test_a_clip_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    with pytest.raises(YardError, match="could not write it"):
        write_clip(Scene(seed=1), 1, 5, tmp_path / "no" / "clip.mp4", Console(quiet=True))
    with pytest.raises(YardError, match="cannot be written"):
        write_truth(Scene(seed=1), 1, tmp_path / "no" / "clip.jsonl")
