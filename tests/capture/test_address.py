"""What an address means, and that its password is never shown."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import numpy as np
import pytest

from longwatch.daemon.capture.address import check_reachable, in_short, kind_of, mask_credentials
from longwatch.daemon.errors import CaptureError


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://ann:secret@cam:554/a",
        "failed to open rtsp://ann:secret@cam/a, giving up",
        "RTSP://ann:secret@cam/a",
        "rtsp://ann:sec@secret@cam/a",
        "rtsp://ann:sec/secret@cam/a",
        "rtsp://ann:12/secret@cam/a",
        "http://secret@cam/a",
        "http://cam/a?user=ann&password=secret&x=1",
        "http://cam/a?x=1&pwd=secret",
        "rtsp://b:secret@cam/a and rtsp://ann:secret@cam/a",
    ],
)
def test_a_password_is_masked_wherever_an_address_hides_it(text: str) -> None:
    masked = mask_credentials(text)
    assert "secret" not in masked
    assert "ann" not in masked
    assert "cam/a" in masked or "cam:554/a" in masked


@pytest.mark.parametrize("text", ["rtsp://cam:554/a", "http://cam/a?x=1", "mail ann@host", "scene://?seed=7", "a.mp4"])
def test_text_without_credentials_stays_as_it_is(text: str) -> None:
    assert mask_credentials(text) == text


def test_users_are_masked_as_one_plain_pattern_would_do_it() -> None:
    plain = re.compile(r"(?<=://)(?:[^/?#\s@:]+:\S*@|[^/?#\s]*@)")
    rng = np.random.default_rng(1)
    for _ in range(20_000):
        text = "".join(rng.choice(["a", "://", ":", "@", "/", "?", "#", " "], rng.integers(1, 12)))
        assert mask_credentials(text) == plain.sub("***@", text), text


@pytest.mark.parametrize("piece", ["a", "a://", "a://b:", "://", "a@", ":@", "?user", "a://b:/"])
def test_a_long_text_is_masked_in_one_pass(piece: str) -> None:
    """In more than one, a million characters would take hours."""
    text = piece * (1_000_000 // len(piece))
    assert len(mask_credentials(text)) <= len(text)


def test_what_is_shown_of_a_long_text_hides_a_password_that_its_cut_would_halve() -> None:
    text = "x" * 480 + " rtsp://ann:secret-and-more@cam/a" + "y" * 10_000
    assert in_short(text) == "x" * 480 + " rtsp://***@cam/a" + "yyy…"


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("rtsp://cam/a", "network"),
        ("https://cam/a.mp4", "network"),
        ("scene://?seed=1", "scene"),
        ("0", "webcam"),
        ("/dev/video2", "webcam"),
        ("/dev/v4l/by-id/usb-cam", "webcam"),
        ("file:///a/b.mp4", "file"),
        ("10:30 yard.mp4", "file"),
    ],
)
def test_each_address_is_of_one_kind(url: str, kind: str) -> None:
    assert kind_of(url) == kind


@pytest.mark.parametrize(
    "url", ["ftp://ann:secret@cam/a", "rtsp://ann:sec/ret@cam/a", "rtsp://cam:99999/", "rtsp:///a"]
)
def test_an_address_that_cannot_be_read_is_an_error_without_its_password(url: str) -> None:
    with pytest.raises(CaptureError) as error:
        kind_of(url)
    assert "sec" not in str(error.value)


def test_what_is_not_there_is_told_before_ffmpeg_is_asked(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        check_reachable(f"rtsp://127.0.0.1:{port}/", 1)
    for url, sentence in (
        (f"rtsp://127.0.0.1:{port}/", "connection was refused"),
        (f"{tmp_path}/none.mp4", "no such file"),
        (f"{tmp_path}/empty.mp4", "the file is empty"),
        ("/dev/video97", "no such device"),
    ):
        with pytest.raises(CaptureError, match=sentence):
            check_reachable(url, 1)


def test_a_space_in_a_file_address_may_be_escaped(tmp_path: Path) -> None:
    (tmp_path / "my yard.mp4").write_bytes(b"x")
    check_reachable(f"file://{tmp_path}/my%20yard.mp4", 1)
    check_reachable(f"{tmp_path}/my yard.mp4", 1)
