"""Real lives: a real camera, file and HTTP stream, a real daemon, questions, outages and kills."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from longwatch.clients.errors import Refused
from longwatch.yard.scene import Scene
from longwatch.yard.state import HEIGHT, WIDTH

from . import rtsp_server
from .capture.web_camera import WebCamera
from .daemon_process import DaemonProcess
from .rtsp_server import RtspServer

SCENE = Scene(seed=11, busy=0.5)
START = 120  # the second of the scene that the camera begins at; by then something has come
SPEED, FPS = 6, 6  # seconds of the scene in a second, and frames: one a second of the scene
NEVER_YET = ("green bicycle", "white box", "purple van", "orange car", "black person", "yellow box", "purple box")
needs_camera = pytest.mark.skipif(not rtsp_server.is_available(), reason="no RTSP server; see tests/install_debian.sh")


def camera_stream(url: str) -> str:
    return f'[streams.yard]\nurl = "{url}"\nfps = {FPS}\nstall_seconds = 3\nreconnect_seconds = 1\n'


class Pictures:
    """What the camera shows. A busy daemon may begin to watch late, so it is noted when what was shown."""

    def __init__(self) -> None:
        self._shown: list[tuple[int, float]] = []  # when, and which second of the scene

    def __call__(self, number: int) -> NDArray[np.uint8]:
        second = START + number / FPS * SPEED
        self._shown.append((time.time_ns(), second))
        return SCENE.render(second)

    def questions(self, since_ns: int) -> list[tuple[str, str]]:
        """What appeared in the quarter of a minute from a time on, and what never did."""
        seconds = [second for time_ns, second in self._shown if since_ns <= time_ns < since_ns + 15 * 10**9]
        things = (thing for second in seconds for thing in SCENE.state(second).things if not thing.half_seen)
        seen = list(dict.fromkeys(f"{thing.colour} {thing.kind}" for thing in things))
        ever = {f"{v.colour} {v.kind}" for v in SCENE.visits(0, self._shown[-1][1])}
        absent = [name for name in NEVER_YET if name not in ever]
        return [(f"did a {thing} appear?", "yes") for thing in seen[:3]] + [
            (f"did a {thing} appear?", "no") for thing in absent[:3]
        ]


@needs_camera
@pytest.mark.slow
def test_a_camera_is_remembered_through_an_outage_and_a_kill(tmp_path: Path) -> None:
    """Watch, ask; the camera dies and returns; the daemon is killed and started; the same question again."""
    pictures = Pictures()
    camera = RtspServer(pictures, width=WIDTH, height=HEIGHT, fps=FPS, user="ann", password="s3cret")
    with camera, DaemonProcess(tmp_path, camera_stream(camera.url)) as daemon:
        began = daemon.wait(
            lambda s: s.streams[0].blocks >= 36 and s.streams[0].last_ns - s.streams[0].first_ns > 20 * 10**9
        )
        questions = pictures.questions(began.streams[0].first_ns)
        # 1. The past is answered, from blocks that left the window long ago.
        right = [daemon.client.ask(question).text == answer for question, answer in questions]
        assert len(right) >= 4
        assert sum(right) >= len(right) - 2, right
        # 2. The camera dies for some seconds and returns: a gap, in status and in an answer about that time.
        camera.kill()
        daemon.wait(lambda status: status.streams[0].state == "reconnecting")
        camera.start()
        status = daemon.wait(lambda s: any(gap.end_ns for gap in s.streams[0].gaps))
        gap = next(gap for gap in status.streams[0].gaps if gap.end_ns)
        assert gap.end_ns - gap.start_ns > 1_000_000_000
        middle = (gap.start_ns + gap.end_ns) // 2
        end = daemon.client.ask("what was there?", since_ns=middle, until_ns=middle)
        assert [(g.start_ns, g.end_ns) for g in end.gaps] == [(gap.start_ns, gap.end_ns)]
        # 3. SIGKILL, and the same question brings back the same blocks and gets the same answer.
        camera.kill()
        daemon.wait(lambda s: s.streams[0].state == "reconnecting")
        before = daemon.wait(lambda s: s.streams[0].durable_id == s.streams[0].blocks and not s.queued_blocks)
        first = [daemon.client.ask(question) for question, _ in questions]
        daemon.kill()
        daemon.start()
        after = daemon.client.status()
        assert after.streams[0].blocks == before.streams[0].blocks
        second = [daemon.client.ask(question) for question, _ in questions]
        assert [end.recalled for end in second] == [end.recalled for end in first]
        assert [end.text for end in second] == [end.text for end in first]
        assert all(end.recalled for end in first)
        assert daemon.client.status().streams[0].url == "rtsp://***@127.0.0.1:" + camera.url.rsplit(":", 1)[1]
        assert daemon.stop() == 0
        assert "s3cret" not in daemon.log.read_text()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two minutes of the scene at 5 frames a second."""
    path = tmp_path_factory.mktemp("clip") / "yard.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 5, (WIDTH, HEIGHT))
    for number in range(600):
        writer.write(SCENE.render(number / 5))
    writer.release()
    return path


def test_a_file_is_watched_as_fast_as_it_encodes_and_answers_by_its_own_clock(clip: Path, tmp_path: Path) -> None:
    stream = f'[streams.file]\nurl = "{clip}"\npace = "fast"\nstart = "2026-03-02T14:00:00"\n'
    with DaemonProcess(tmp_path, stream) as daemon:
        status = daemon.wait(lambda s: s.streams[0].state == "ended")
        assert status.streams[0].frames == 120
        end = daemon.client.ask("what was there at 14:00:30?")
        half_past = 1_772_460_030_000_000_000
        assert any(e.start_ns <= half_past <= e.end_ns for e in end.evidence)
        assert all(e.picture.startswith(b"\xff\xd8") for e in end.evidence)
        # Only frames of that time are looked at: recalled ones, and those of the window that are of it.
        assert end.since_ns is not None
        assert end.until_ns is not None
        assert all(e.origin == "recalled" for e in end.evidence)
        assert all(e.start_ns <= end.until_ns and e.end_ns >= end.since_ns for e in end.evidence)
        assert {e.origin for e in daemon.client.ask("what was there at 14:01:57?").evidence} == {"window"}
        assert "window" in {e.origin for e in daemon.client.ask("what was there?").evidence}
        # A second start neither repeats the file nor loses what was seen.
        daemon.stop()
        daemon.start()
        again = daemon.wait(lambda s: s.streams[0].state == "ended")
        assert again.streams[0].blocks == status.streams[0].blocks


@pytest.mark.slow
def test_a_stream_in_new_york_is_asked_and_answers_by_the_clocks_there(tmp_path: Path) -> None:
    stream = (
        '[streams.yard]\nurl = "scene://?seed=11&busy=0.5&minutes=3&start=2026-03-02T14:00:00"\npace = "fast"\n'
        'time_zone = "America/New_York"\n'
    )
    nine_ns = 1_772_460_000_000_000_000
    come = [visit.name for visit in SCENE.visits(20, 150)]
    with DaemonProcess(tmp_path, stream) as daemon:
        status = daemon.wait(lambda s: s.streams[0].state == "ended")
        assert status.streams[0].time_zone == "America/New_York"
        end = daemon.client.ask("what was there at 9:01?")
        assert (end.since_ns, end.until_ns) == (nine_ns + 60 * 10**9, nine_ns + 119 * 10**9)
        end = daemon.client.ask("what was there?", time="between 9:00:30 and 9:01:00")
        assert (end.since_ns, end.until_ns) == (nine_ns + 30 * 10**9, nine_ns + 61 * 10**9)
        answers = [daemon.client.ask(f"when did the {name} appear?").text for name in come]
        assert all(answer.startswith("at 09:0") for answer in answers), answers  # as the frames' clocks have it
        with pytest.raises(Refused, match="cannot read 'at lunch' as a time"):
            daemon.client.ask("what was there?", time="at lunch")


@pytest.mark.slow
def test_an_http_camera_is_watched_and_asked(tmp_path: Path) -> None:
    with (
        WebCamera(lambda number: SCENE.render(number / 4)) as camera,
        DaemonProcess(tmp_path, f'[streams.web]\nurl = "{camera.url}"\nfps = 6\n') as daemon,
    ):
        status = daemon.wait(lambda s: s.streams[0].blocks >= 8)
        assert status.streams[0].state == "watching"
        end = daemon.client.ask("did a green bicycle appear?")
        assert end.text in ("yes", "no")
        assert end.evidence


@pytest.mark.slow
def test_sigterm_loses_nothing_that_was_encoded(tmp_path: Path) -> None:
    stream = '[streams.yard]\nurl = "scene://?seed=4&start=2026-03-02T14:00:00&busy=0.6"\npace = "fast"\n'
    with DaemonProcess(tmp_path, stream) as daemon:
        seen = daemon.wait(lambda s: s.streams[0].blocks >= 50).streams[0].blocks
        assert daemon.stop() == 0
        assert "all blocks durable" in daemon.log.read_text()
        daemon.start()
        assert daemon.wait(lambda s: True).streams[0].durable_id >= seen


@pytest.mark.slow
def test_streams_come_and_go_while_the_daemon_runs_and_share_the_model(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path, "") as daemon:
        for name in ("a", "b"):
            daemon.client.add_stream(name, url="scene://?seed=1&minutes=3&start=2026-03-01T10:00:00", pace="fast")
        status = daemon.wait(lambda s: all(stream.state == "ended" for stream in s.streams))
        assert sorted(s.name for s in status.streams) == ["a", "b"]
        assert all(s.blocks > 5 for s in status.streams)
        daemon.client.remove_stream("a")
        assert {s.name: s.state for s in daemon.client.status().streams} == {"a": "not watched", "b": "ended"}
        assert daemon.client.ask("is the door open now?").stream == "b"  # the only one that is watched


@pytest.mark.slow
def test_a_stream_added_while_running_is_watched_again_after_a_kill(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path, "") as daemon:
        url = "scene://?seed=11&busy=0.5&start=2026-03-02T14:00:00"
        daemon.client.add_stream("garden", url=url, fps=2.0, pace="fast", time_zone="America/New_York")
        before = daemon.wait(lambda s: s.streams[0].durable_id > 20).streams[0]
        daemon.kill()
        daemon.start()
        after = daemon.wait(lambda s: s.streams[0].last_ns > before.last_ns).streams[0]
        assert (after.name, after.time_zone) == ("garden", "America/New_York")
        assert after.blocks > before.durable_id


@pytest.mark.slow
def test_what_a_removed_stream_saw_is_asked_and_forgotten_also_after_a_restart(tmp_path: Path) -> None:
    stream = dict(url="scene://?seed=11&busy=0.5&minutes=3&start=2026-03-02T14:00:00", pace="fast")
    come = next(visit.name for visit in SCENE.visits(20, 150))
    with DaemonProcess(tmp_path, "") as daemon:
        daemon.client.add_stream("yard", **stream, time_zone="America/New_York")
        blocks = daemon.wait(lambda s: s.streams[0].state == "ended").streams[0].blocks
        daemon.client.remove_stream("yard")
        with pytest.raises(Refused, match="stream yard is not watched"):
            daemon.client.remove_stream("yard")
        answer = daemon.client.ask(f"did a {come} appear?")
        assert (answer.text, bool(answer.recalled)) == ("yes", True)
        daemon.stop()
        daemon.start()
        (found,) = daemon.client.status().streams
        assert (found.state, found.blocks, found.time_zone) == ("not watched", blocks, "America/New_York")
        again = daemon.client.ask(f"did a {come} appear?", stream="yard")
        assert (again.text, again.recalled) == (answer.text, answer.recalled)
        assert daemon.client.ask("is the door open now?").evidence  # from the newest picture, never from nothing
        # Watched again, it goes on where it was left: all of it was seen.
        daemon.client.add_stream("yard", **stream)
        assert daemon.wait(lambda s: s.streams[0].state == "ended").streams[0].blocks == blocks
        daemon.client.remove_stream("yard")
        assert daemon.client.forget("yard", None, None) == blocks
        daemon.stop()
        daemon.start()
        assert all(not stream.blocks for stream in daemon.client.status().streams)
