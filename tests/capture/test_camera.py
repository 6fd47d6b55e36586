"""Live sources through a real capture process: they hang, die, lie and change, and watching goes on."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from msgspec.msgpack import encode

from longwatch.daemon.capture import patience as patience_module
from longwatch.daemon.capture import process as process_module
from longwatch.daemon.capture.message import Frame, Gap, Message, StillFrame
from longwatch.daemon.capture.pipe import MessagePipe

from .. import rtsp_server
from ..rtsp_server import RtspServer
from . import numbered
from .conftest import Watch, take
from .web_camera import WebCamera

needs_rtsp = pytest.mark.skipif(not rtsp_server.is_available(), reason="sh tests/install_debian.sh")


@pytest.fixture
def camera() -> Iterator[RtspServer]:
    """A camera with a password, 25 frames a second, that counts its seconds."""
    with RtspServer(lambda n: numbered.paint(n // 25 % 1024), fps=25, user="ann", password="secret") as server:
        yield server


def frames(messages: list[Message]) -> list[Frame | StillFrame]:
    """Those messages that are frames."""
    return [message for message in messages if isinstance(message, Frame | StillFrame)]


def has_gap(messages: list[Message]) -> bool:
    """Whether the last message is a gap."""
    return bool(messages) and isinstance(messages[-1], Gap)


@needs_rtsp
@pytest.mark.slow
def test_an_rtsp_camera_is_watched_through_the_death_of_process_and_camera(watch: Watch, camera: RtspServer) -> None:
    child = watch(camera.url, fps=5, reconnect_seconds=0.5)
    before = frames(take(child, lambda m: len(m) == 8))
    shown = [numbered.read(frame.image) for frame in before if isinstance(frame, Frame)]
    assert shown == sorted(shown)
    steps = [after.utc_ns - frame.utc_ns for frame, after in itertools.pairwise(before)]
    assert all(step > 0 for step in steps)
    assert sum(steps) / len(steps) > 0.1e9  # five a second are wanted, and a busy machine may give fewer

    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    died = take(child, has_gap)[-1]
    assert isinstance(died, Gap)
    assert "the capture process died (SIGKILL)" in died.reason

    camera.kill()
    take(child, lambda _: "connection was refused" in child.last_error)
    assert child.state == "reconnecting"
    assert "secret" not in child.last_error
    last_ns = child.last_frame_ns
    camera.start()
    gap = take(child, has_gap)[-1]
    assert isinstance(gap, Gap)
    assert gap.start_ns == last_ns
    assert isinstance(child.next(1), Frame)
    assert (child.state, child.last_error) == ("watching", "")


@needs_rtsp
def test_a_camera_that_hangs_is_noticed_and_taken_up_when_it_wakes(watch: Watch, camera: RtspServer) -> None:
    child = watch(camera.url, fps=10, stall_seconds=1, reconnect_seconds=0.5)
    take(child, lambda m: len(m) == 5)
    camera.pause()
    take(child, lambda _: child.state == "reconnecting")
    assert "no frame for 1 s" in child.last_error
    camera.resume()
    gap = take(child, has_gap)[-1]
    assert isinstance(gap, Gap)
    assert "no frame" in gap.reason


@needs_rtsp
def test_a_wrong_password_is_named_and_not_shown(
    watch: Watch, camera: RtspServer, capfd: pytest.CaptureFixture[str]
) -> None:
    child = watch(camera.url.replace("secret", "geheim"))
    take(child, lambda _: child.last_error)
    assert child.last_error == f"rtsp://***@127.0.0.1:{camera.port}/camera: wrong user or password"
    assert child.state == "reconnecting"
    assert capfd.readouterr() == ("", "")


def test_a_camera_that_answers_nothing_has_timed_out(watch: Watch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        child = watch(f"rtsp://127.0.0.1:{server.getsockname()[1]}/", open_seconds=1, stall_seconds=1)
        take(child, lambda _: child.last_error)
        assert "timed out" in child.last_error


def test_a_refused_camera_is_tried_for_ever_with_growing_pauses(watch: Watch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    child = watch(f"rtsp://127.0.0.1:{port}/", reconnect_seconds=0.2)
    take(child, lambda _: child.restarts >= 6)
    assert not child.over
    assert f"nothing listens on port {port}" in child.last_error


def test_motion_jpeg_is_watched_though_its_resolution_changes(watch: Watch) -> None:
    def paint(number: int) -> object:
        return numbered.paint(number % 1024) if number < 25 else numbered.paint(number % 1024, width=640, height=480)

    with WebCamera(paint) as server:
        child = watch(server.url, fps=25, gate_levels=0)
        messages = take(child, lambda m: m and isinstance(m[-1], Frame) and numbered.read(m[-1].image) > 40)
    shown = [numbered.read(frame.image) for frame in messages if isinstance(frame, Frame)]
    assert shown[0] < 25
    assert shown == sorted(set(shown))
    assert child.restarts == 0


def test_frames_that_nobody_takes_are_dropped_and_the_newest_is_handed_over(watch: Watch) -> None:
    with WebCamera(lambda number: numbered.paint(number % 1024)) as server:
        child = watch(server.url, fps=25, gate_levels=0)
        take(child, lambda m: len(m) == 2)
        take(child, lambda _: child.next(0) is None)
        idle = watch("scene://?seed=1", fps=5)
        take(idle, lambda m: len(m) == 10)  # two seconds in which the camera's frames are not taken
        late, newest = frames(take(child, lambda m: len(m) == 2))
    assert isinstance(late, Frame)
    assert isinstance(newest, Frame)
    assert numbered.read(newest.image) - numbered.read(late.image) > 25
    assert child.dropped > 25


def test_a_frozen_picture_is_a_gap_like_any_other(watch: Watch) -> None:
    with WebCamera(lambda number: numbered.paint(5)) as server:
        child = watch(server.url, fps=25, frozen_seconds=0.5)
        take(child, lambda _: child.state == "reconnecting")
        assert "the picture is frozen" in child.last_error
        assert has_gap(take(child, has_gap))


def test_a_frozen_file_is_no_fault(watch: Watch) -> None:
    child = watch("scene://?seed=3&busy=0", fps=20, frozen_seconds=0.1)
    take(child, lambda m: len(m) == 15)
    assert child.restarts == 0


def test_the_capture_process_imports_no_torch() -> None:
    code = "import sys, longwatch.daemon.capture.grabber; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_capture_process_that_hangs_ends_when_the_daemon_is_killed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = (
            "from longwatch.daemon.capture.child import CaptureChild, SourceConfig\n"
            f"child = CaptureChild(SourceConfig(url='rtsp://127.0.0.1:{server.getsockname()[1]}/', open_seconds=60))\n"
            "child.next(0.1)\n"
            "print(child.pid, flush=True)\n"
            "while True: child.next(1)\n"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as daemon:
            assert daemon.stdout is not None
            process = psutil.Process(int(daemon.stdout.readline()))
            server.settimeout(60)
            server.accept()[0].close()  # the check that somebody listens
            hanging, _ = server.accept()  # FFmpeg, which gets no answer
            daemon.kill()
        with hanging:
            psutil.wait_procs([process], timeout=60)
            assert not process.is_running()


def test_stop_ends_the_process(watch: Watch) -> None:
    child = watch("scene://?seed=1")
    take(child, lambda m: len(m) == 1)
    assert child.pid is not None
    process = psutil.Process(child.pid)
    child.stop()
    assert not process.is_running()
    assert child.over
    assert child.next(0) is None


def test_a_process_that_is_stopped_in_the_middle_of_a_frame_is_started_again(watch: Watch) -> None:
    child = watch("scene://?seed=1&size=3840x2160", fps=5, stall_seconds=1, open_seconds=5, gate_levels=0)
    take(child, lambda m: len(m) == 1)
    child.next(0)  # asks for a frame, which is larger than what fits between the two
    time.sleep(1)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGSTOP)
    took = max(_seconds_of(lambda: child.next(0.1)) for _ in range(30) if child.state == "watching")
    assert took < 1
    assert child.state == "reconnecting"
    assert "no frame for 1 s" in child.last_error
    take(child, lambda m: any(isinstance(message, Frame) for message in m))


@pytest.mark.slow
def test_a_process_that_lives_is_given_time_to_import_and_a_silent_one_is_not(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(patience_module, "_SILENT_SECONDS", 2.5)
    (tmp_path / "sitecustomize.py").write_text(  # the thread that says so runs beside an import that takes long
        "import sys, time\n"
        "class Slow:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'cv2': time.sleep(4)\n"
        "sys.meta_path.insert(0, Slow())\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    slow = watch("scene://?seed=1", stall_seconds=0.5, open_seconds=0.5)
    began = time.monotonic()
    take(slow, lambda m: len(m) == 1)
    assert time.monotonic() - began > 4
    assert slow.restarts == 0

    stopped = watch("scene://?seed=1")
    stopped.next(0.1)
    assert stopped.pid is not None
    os.kill(stopped.pid, signal.SIGSTOP)
    take(stopped, lambda _: stopped.restarts)
    assert "the capture process did not start" in stopped.last_error


def test_processes_start_a_few_at_a_time_and_the_others_wait_their_turn(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "_START_SLOTS", threading.BoundedSemaphore(1))
    children = [watch("scene://?seed=1", stall_seconds=0.5, open_seconds=0.5) for _ in range(3)]
    most, deadline = 0, time.monotonic() + 120
    while not all(child.frames for child in children) and time.monotonic() < deadline:
        for child in children:
            child.next(0.01)
        most = max(most, sum(child.pid is not None and not child.frames for child in children))
        assert {child.state for child in children} <= {"starting", "watching"}
    assert [child.restarts for child in children] == [0, 0, 0]
    assert all(child.frames for child in children)


def test_a_frame_larger_than_allowed_is_one_sentence(watch: Watch) -> None:
    child = watch("scene://?size=640x480", frame_pixels=100_000)
    take(child, lambda _: child.over)
    assert child.last_error.endswith("its frames have 640 x 480 pixels; frame_pixels allows 100000")


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (b"nonsense", "the capture process sent what is no message"),
        (encode(Frame(0, 2, 2, bytes(11), b"", 0, 0)), "sent 11 bytes for 2 x 2 pixels"),
        (encode(Frame((1 << 63) - 1, 2, 2, bytes(12), b"", 0, 0)), "sent a frame that is before 1970 or after 2261"),
        (bytes(40 << 20), "sent a message of 41943040 bytes; at most 16789504 are allowed"),
    ],
)
def test_a_process_that_sends_nonsense_is_started_again(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, sent: bytes, sentence: str
) -> None:
    child = watch("scene://?seed=1&size=64x64", frame_pixels=4096)
    take(child, lambda m: len(m) == 1)
    ours, theirs = socket.socketpair()
    with theirs:
        pipe = MessagePipe(ours, 3 * 4096 + (16 << 20))
        assert child._process is not None
        child._process._pipe.close()
        monkeypatch.setattr(child._process, "_pipe", pipe)  # as if a hostile camera had taken the process over
        theirs.setblocking(False)
        with contextlib.suppress(BlockingIOError):  # where it is longer than what fits between the two
            theirs.sendall(struct.pack(">I", len(sent)) + sent)
        take(child, lambda _: child.restarts)
        assert sentence in child.last_error


def _seconds_of(act: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began
