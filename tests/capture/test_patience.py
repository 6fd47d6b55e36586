"""How long a capture process is waited for, on a clock that the test turns."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from longwatch.daemon.capture import patience as patience_module
from longwatch.daemon.capture.patience import Patience
from longwatch.daemon.capture.settings import SourceConfig

RECORDING, CAMERA = "http://cam/clip.mp4", "rtsp://cam/"
STALL, OPEN = 5.0, 20.0


class Waiting:
    """The patience with a process that a test plays."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, url: str = CAMERA, again_seconds: int = 0) -> None:
        self.now = 1000.0
        monkeypatch.setattr(patience_module, "time", SimpleNamespace(monotonic=lambda: self.now))
        config = SourceConfig(url=url, stall_seconds=STALL, open_seconds=OPEN, fps=1)
        self.patience = Patience(config, again_seconds * 1_000_000_000)

    def after(self, seconds: float) -> str:
        self.now += seconds
        return self.patience.check()

    def getting_on(self, seconds: int) -> str:
        """What is wrong at the first second that is too late, if the process says each second that it gets on."""
        for second in range(seconds):
            self.now += 1
            self.patience.note_progress()
            if complaint := self.patience.check():
                return f"{second}: {complaint}"
        return ""


def test_a_process_may_import_for_minutes_while_it_says_so_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Waiting(monkeypatch).after(29) == ""
    assert Waiting(monkeypatch).after(31) == "the capture process did not start in 31 s"
    assert Waiting(monkeypatch).getting_on(299) == ""
    assert Waiting(monkeypatch).getting_on(400) == "300: the capture process did not start in 301 s"


def test_before_its_first_frame_a_source_may_take_as_long_as_opening_and_then_as_long_as_a_stall(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = Waiting(monkeypatch)
    process.now += 100
    process.patience.note_opening()
    process.patience.note_request()
    assert process.after(OPEN + STALL) == ""
    assert process.after(1.5) == "no frame for 26 s"
    process.patience.note_frame()
    process.patience.note_request()
    assert process.after(STALL) == ""
    assert process.after(1.5) == "no frame for 6 s"


def test_a_request_before_the_first_frame_begins_no_new_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Waiting(monkeypatch)
    process.patience.note_opening()
    assert process.after(20) == ""
    process.patience.note_request()
    assert process.after(7) == "no frame for 26 s"


def test_only_a_recording_is_believed_that_it_gets_on_and_for_as_long_as_it_may_have_to_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    camera = Waiting(monkeypatch)
    camera.patience.note_opening()
    assert camera.getting_on(100) == "26: no frame for 26 s"
    for again_seconds in (0, 7200):
        recording = Waiting(monkeypatch, RECORDING, again_seconds)
        recording.patience.note_opening()
        assert recording.getting_on(3600 + again_seconds) == ""
        assert recording.getting_on(60).endswith("no frame for 26 s")
        recording.patience.note_frame()
        recording.patience.note_request()
        assert recording.getting_on(3600) == ""
        assert recording.getting_on(60).endswith("no frame for 6 s"), "what was read again is behind it"
