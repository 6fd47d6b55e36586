"""Files and cameras made by an enemy: nothing else is read or asked for, and no text becomes a picture."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import psutil
import pytest

from longwatch.daemon.capture.confinement import environment
from longwatch.daemon.capture.message import Frame, SourceEnd, SourceFailure, decode
from longwatch.daemon.errors import CaptureError

from . import numbered
from .conftest import Watch, take


class Server:
    """A web server that hands out some pages, and remembers what it was asked for."""

    def __init__(self) -> None:
        pages = self.pages = dict[str, tuple[str, bytes]]()
        asked = self.asked = list[str]()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                kind, body = pages.get(self.path, ("text/plain", b"secret"))
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    """What stands for the rest of the daemon's network."""
    server = Server()
    with server.http:
        threading.Thread(target=server.http.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.http.shutdown()


def playlists(segment: str) -> dict[str, bytes]:
    """Kinds of file that name another, each by the ending it mostly has."""
    return {
        "m3u8": b"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\n%b\n#EXT-X-ENDLIST\n"
        % segment.encode(),
        "ffconcat": b"ffconcat version 1.0\nfile %b\n" % segment.encode(),
        "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
        b"a=rtpmap:96 H264/90000\n",
        "mpd": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        b'mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
        b'bandwidth="1"><BaseURL>%b</BaseURL></Representation></AdaptationSet></Period></MPD>' % segment.encode(),
    }


@pytest.mark.parametrize("ending", ["m3u8", "ffconcat", "sdp", "mpd"])
@pytest.mark.parametrize("named", ["clip.mp4", "web.mp4"])
def test_a_file_that_names_others_has_none_of_them_read(
    watch: Watch, tmp_path: Path, server: Server, ending: str, named: str
) -> None:
    clip = numbered.write_clip(tmp_path / "clip.mp4", frames=20, fps=10)
    segment = str(clip) if named == "clip.mp4" else f"{server.url}/{named}"
    hostile = tmp_path / f"yard.{ending}"
    hostile.write_bytes(playlists(segment)[ending])
    child = watch(str(hostile), pace="fast", open_seconds=3)
    assert [type(message) for message in take(child, lambda _: child.over)] == [SourceFailure]
    assert server.asked == []
    assert "\n" not in child.last_error


@pytest.mark.parametrize("ending", ["m3u8", "ffconcat", "mpd"])
def test_a_camera_that_names_other_addresses_has_none_of_them_asked(
    watch: Watch, tmp_path: Path, server: Server, ending: str
) -> None:
    clip = numbered.write_clip(tmp_path / "clip.mp4", frames=20, fps=10)
    for number, segment in enumerate((f"{server.url}/internal", str(clip))):
        server.pages[f"/{number}.{ending}"] = ("application/vnd.apple.mpegurl", playlists(segment)[ending])
        child = watch(f"{server.url}/{number}.{ending}", reconnect_seconds=60, open_seconds=3)
        assert take(child, lambda _, child=child: child.last_error) == []
    assert set(server.asked) == {f"/0.{ending}", f"/1.{ending}"}


@pytest.mark.parametrize("name", ["yard.nfo", "yard.txt", "yard.ans", "yard.mp4", "yard.srt", "yard.y4m"])
def test_a_text_never_becomes_a_picture(watch: Watch, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("root:x:0:0: a secret of some length\n" * 60)
    child = watch(str(tmp_path / name), pace="fast")
    assert [type(message) for message in take(child, lambda _: child.over)] == [SourceFailure]


def test_a_playlist_is_refused_in_one_sentence(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "yard.m3u8").write_bytes(playlists("/etc/passwd")["m3u8"])
    child = watch(str(tmp_path / "yard.m3u8"))
    take(child, lambda _: child.over)
    assert child.last_error == (
        f"{tmp_path}/yard.m3u8: this kind of file is not read; playlists and texts name or show what is not theirs"
    )


@pytest.mark.parametrize("name", ["yard.avi", "yard.mkv", "concat:yard.mp4", "10:30 yard.mp4", "a|b yard.mp4"])
def test_video_is_read_whatever_it_is_called(watch: Watch, tmp_path: Path, name: str) -> None:
    made = numbered.write_clip(tmp_path / f"made.{name[-3:]}", frames=20, fps=10)
    made.rename(tmp_path / name)
    child = watch(str(tmp_path / name), fps=10, pace="fast", gate_levels=0)
    messages = take(child, lambda m: m and isinstance(m[-1], SourceEnd | SourceFailure))
    assert [numbered.read(m.image) for m in messages if isinstance(m, Frame)] == list(range(20))


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/dev/shm"])
def test_a_device_that_is_no_camera_is_never_opened(watch: Watch, path: str) -> None:
    child = watch(path, reconnect_seconds=60)
    take(child, lambda _: child.last_error)
    assert child.last_error.endswith("this device is no camera; give a file by a path outside /dev")


def test_a_capture_process_has_no_secrets_and_bounded_memory(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "http_proxy", "LONGWATCH_KEY"):
        monkeypatch.setenv(name, "secret")
    assert "secret" not in environment().values()
    child = watch("scene://?seed=1&size=640x480", frame_pixels=640 * 480)
    take(child, lambda m: len(m) == 1)
    process = psutil.Process(child.pid)
    assert "secret" not in process.environ().values()
    most, _ = process.rlimit(psutil.RLIMIT_AS)
    assert process.memory_info().vms < most < process.memory_info().vms + (2 << 30)
    assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert process.environ()["PATH"] == os.environ["PATH"]


def test_a_process_that_complains_without_end_is_not_listened_to() -> None:
    complaint = msgspec.msgpack.encode(SourceFailure("x" * 20_000, final=True))
    with pytest.raises(CaptureError, match="what is no message"):
        decode(bytearray(complaint))
