"""How the programs start and stop: nothing of the folder they stand in runs, and a closed terminal loses nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from longwatch.clients import Client
from longwatch.clients.errors import Refused
from longwatch.daemon.main import _supervise

from .daemon_process import DaemonProcess

YARD = '[streams.yard]\nurl = "scene://?seed=2&minutes=2&start=2026-03-02T10:00:00"\npace = "fast"\n'


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[Path]:
    """A folder whose modules are called like Python's own."""
    for name in ("queue", "struct", "json", "torch", "zmq"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a module of this folder was run')\n")
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [["serve", "none.toml"], ["doctor", "none.toml"], ["calibrate", "none.toml"], ["scene", "--truth", "nowhere/x"]],
    ids=lambda arguments: arguments[0],
)
def test_no_program_runs_a_module_of_the_folder_it_is_started_in(foreign: Path, arguments: list[str]) -> None:
    program = Path(sys.executable).with_name("longwatch")
    done = subprocess.run([program, *arguments], cwd=foreign, capture_output=True, text=True, check=False, timeout=120)
    assert "a module of this folder" not in done.stderr
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) or arguments[0] == "scene", done.stderr


@pytest.mark.slow
def test_a_closed_terminal_stops_the_daemon_as_cleanly_as_a_signal_to_end(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
    request.addfinalizer(lambda: signal.signal(signal.SIGHUP, before))
    with DaemonProcess(tmp_path, YARD) as daemon:
        daemon.wait(lambda status: status.streams[0].blocks > 0)
        assert daemon.stop(signal.SIGHUP) == 0
    assert "all blocks durable" in daemon.log.read_text()


@pytest.mark.slow
def test_a_daemon_under_nohup_does_not_end_with_its_terminal(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path, YARD) as daemon:
        daemon.stop()
        daemon.start("nohup")
        with pytest.raises(subprocess.TimeoutExpired):
            daemon.stop(signal.SIGHUP, timeout_seconds=2)
        assert daemon.client.status().streams


@pytest.mark.slow
def test_who_waits_for_an_answer_is_told_that_the_daemon_stops(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path, YARD) as daemon:
        daemon.wait(lambda status: status.streams[0].blocks > 0)
        begun = threading.Event()
        with ThreadPoolExecutor() as pool:
            waits = pool.submit(_ask_at_length, daemon.client, begun)
            assert begun.wait(120)
            assert daemon.stop() == 0
            with pytest.raises(Refused, match="the daemon is stopping"):
                waits.result(120)


def _ask_at_length(client: Client, begun: threading.Event) -> None:
    """Asks again and again, so that an answer is under way however late the daemon hears the signal."""
    while True:
        for _ in client.ask_stream("what happened?", temperature=5.0, max_tokens=4096):
            begun.set()


class Failing:
    """A part whose supervision fails, as where no thread can be started."""

    restarts = 0
    alive = False
    asked = 0

    def start(self) -> None:
        raise RuntimeError("can't start new thread")

    def supervise(self) -> None:
        self.asked += 1
        raise OSError(24, "Too many open files")


def test_supervising_that_fails_ends_nothing_and_each_part_has_its_turn() -> None:
    part = Failing()
    for _ in range(2):
        _supervise(part, part)  # type: ignore[arg-type]
    assert part.asked == 2


def test_a_signal_while_a_library_loads_ends_the_process_at_once(tmp_path: Path) -> None:
    """A library that does not come back to Python, as a download, hears no signal."""
    program = (
        "import ctypes; from longwatch.daemon.stop_signals import StopSignals\n"
        "signals = StopSignals()\n"
        "with signals.end_at_once(lambda: print('closed', flush=True)):\n"
        "    print('loading', flush=True)\n"
        "    while True: ctypes.CDLL(None).sleep(30)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.terminate()
        assert process.communicate(timeout=60)[0] == "closed\n"
        assert process.returncode == 0
