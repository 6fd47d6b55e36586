"""Configuration files: what is wrong is one sentence that names file, key, value and what is allowed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from longwatch.daemon import log
from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.config import DaemonConfig, convert, load_config
from longwatch.daemon.errors import ConfigError, DaemonError

YARD = '[streams.yard]\nurl = "scene://?seed=1"\n'


def complaint(folder: Path, text: str) -> str:
    path = folder / "x.toml"
    path.write_text(text)
    with pytest.raises(DaemonError) as found:
        load_config(path)
    return str(found.value).removeprefix(f"{folder}/")


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("")
    assert load_config(tmp_path / "x.toml") == DaemonConfig()


def test_values_are_taken_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(f"[memory]\nkeep_days = 2\n{YARD}fps = 0.5\n[streams.gate-2]\nurl = 'clip.mp4'\n")
    config = load_config(tmp_path / "x.toml")
    assert config.memory.keep_days == 2
    assert {name: source.fps for name, source in config.streams.items()} == {"yard": 0.5, "gate-2": 1.0}


def test_a_path_may_begin_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    (tmp_path / "x.toml").write_text(
        "[model]\nname = '~/models/vlm'\n[memory]\nfolder = '~/yard'\n[streams.a]\nurl = '~/clips/a.mp4'\n"
        "[streams.b]\nurl = '/clips/~/b.mp4'\n"
    )
    config = load_config(tmp_path / "x.toml")
    assert (config.model.name, config.memory.folder) == ("/home/ann/models/vlm", "/home/ann/yard")
    assert [source.url for source in config.streams.values()] == ["/home/ann/clips/a.mp4", "/clips/~/b.mp4"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[memory]\nram_byts = 1", "x.toml: unknown key memory.ram_byts; did you mean ram_bytes?"),
        ("[memry]\nfolder = 'a'", "x.toml: unknown key memry; did you mean memory?"),
        ("[model]\nfolder = 'a'", "x.toml: unknown key model.folder"),
        (YARD + "fsp = 1", "x.toml: unknown key streams.yard.fsp; did you mean fps?"),
        ("[streams.yard]\nfps = 1", "x.toml: streams.yard.url is missing"),
        (YARD + "fps = 100", "x.toml: streams.yard.fps is 100, but must be a number from 0.0001 to 60"),
        (YARD + "fps = nan", "x.toml: streams.yard.fps is nan, but must be a number from 0.0001 to 60"),
        (
            YARD + "time_zone = 'Mars'",
            "x.toml: streams.yard.time_zone is 'Mars', but must be UTC or an IANA name like Europe/Berlin",
        ),
        (YARD + "pace = 'slow'", "x.toml: streams.yard.pace is 'slow', but must be one of fast, real"),
        ("streams = 3", "x.toml: streams is 3, but must be a table"),
        ("[streams]\nurl = 'a'", "x.toml: streams.url is 'a', but must be a table"),
        (
            "[streams.Yard]\nurl = 'a'",
            "x.toml: streams: 'Yard' is not a valid name; names of streams are of a-z, 0-9, _ and -, 64 at most",
        ),
        (
            "[server]\naddress = 'http://a'",
            "x.toml: server.address is 'http://a', but must be own, tcp://HOST:PORT or ipc://PATH",
        ),
        (
            "[server]\naddress = 'tcp://127.0.0.1:99999'",
            "server.address: tcp://127.0.0.1:99999: 99999 is not a port;"
            " write tcp://HOST:PORT with a port from 1 to 65535",
        ),
        (
            "[server]\naddress = 'tcp://127.0.0.1:5757'\nevents_address = 'tcp://127.0.0.1:5757'",
            "server.events_address: tcp://127.0.0.1:5757 is also server.address; they must differ",
        ),
        (
            "[server]\nkeys_folder = '/nowhere'",
            "server.keys_folder: /nowhere has no folder clients; run longwatch keys /nowhere",
        ),
        (
            "[streams.yard]\nurl = 'x.mp4'\nstart = 'monday'",
            "x.toml: streams.yard: start: 'monday' is no time; write it as 2026-03-02T14:00:00",
        ),
        ("model = 3", "x.toml: model is 3, but must be a table"),
        (
            "[model]\nwindow_tokens = true",
            "x.toml: model.window_tokens is True, but must be a whole number of at least 1",
        ),
        ("[memory]\nfade = [{ codec = 'int2' }]", "x.toml: memory.fade[0].days is missing"),
        ("[memory]\nfade = [{ day = 2 }]", "x.toml: unknown key memory.fade[0].day; did you mean days?"),
        (
            "[memory]\nfade = [{ days = 1, codec = 'int2', tokens = 0 }]",
            "x.toml: memory.fade[0].tokens is 0, but must be a number above 0 and at most 1",
        ),
        (
            "[retrieval]\nretriever = 'external'",
            "x.toml: retrieval.retriever is 'external', but retrieval.embedding is empty; name a CLIP or SigLIP model"
            " there (a Hugging Face id or a folder), or choose another retriever",
        ),
        (
            YARD + "keep_seconds = inf",
            "x.toml: streams.yard.keep_seconds is inf, but must be a number above 0 and at most 604800",
        ),
        ("[memory]\nkeep_days = inf", "x.toml: memory.keep_days is inf, but must be a finite number"),
        (
            "[memory]\nfade = [{ days = inf, codec = 'int2' }]",
            "x.toml: memory.fade[0].days is inf, but must be a finite number",
        ),
        (
            f"[streams.yard]\nurl = '{'a' * 2049}'",
            f"x.toml: streams.yard.url is '{'a' * 499}…, but must be text of 1 to 2048 characters",
        ),
        (YARD + "b" * 9000 + " = 1", f"x.toml: unknown key streams.yard.{'b' * 487}…"),
        ("[log]\njson = 1", "x.toml: log.json is 1, but must be true or false"),
        ("[memory]\nfade = 3", "x.toml: memory.fade is 3, but must be a list"),
        ("[memory]\nkeep_days = 'ever'", "x.toml: memory.keep_days is 'ever', but must be a number of at least 0"),
        (
            "[server]\nstreams_from = ['disc']",
            "x.toml: server.streams_from[0] is 'disc', but must be one of file, network, scene, webcam",
        ),
        ("[log]\nlevel = 'loud'", "x.toml: log.level is 'loud', but must be one of debug, error, info, warning"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    assert complaint(tmp_path, text) == sentence


def test_what_is_no_file_or_no_toml_is_told(tmp_path: Path) -> None:
    assert complaint(tmp_path, "[memory").startswith("x.toml: not a valid TOML file: ")
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not a valid TOML file"):
        load_config(tmp_path / "x.toml")
    with pytest.raises(ConfigError, match="No such file or directory"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(tmp_path)


def test_a_password_is_never_shown_in_a_complaint(tmp_path: Path) -> None:
    for value in (
        '["rtsp://ann:s3cret@10.0.0.1/x"]',
        '{a = "rtsp://ann:s3cret@10.0.0.1/x"}',
        '"gopher://ann:s3cret@h"',
    ):
        assert "s3cret" not in complaint(tmp_path, f"[streams.yard]\nurl = {value}")


def test_a_table_of_a_client_is_checked_like_one_of_the_file() -> None:
    assert convert({"url": "0", "fps": 2}, SourceConfig, "stream gate").fps == 2
    with pytest.raises(ConfigError, match=r"^stream gate: url is missing$"):
        convert({"fps": 2}, SourceConfig, "stream gate")


@pytest.fixture
def _log_of_its_own() -> Iterator[None]:
    """Logging as it was, after a test that sets it up."""
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("_log_of_its_own")
def test_logs_are_filtered_by_level_and_mask_credentials_however_deep(capfd: pytest.CaptureFixture[str]) -> None:
    url = "rtsp://ann:s3cret@10.0.0.1/x"
    speaker = log.get_logger("test")
    log.set_up(level="warning", as_json=True)
    speaker.info("not worth a line")
    try:
        raise OSError(f"cannot open {url}")
    except OSError as exc:
        speaker.exception("failed", url=url, several={"a": [url, 3]}, cause=exc)
    out, err = capfd.readouterr()
    (line,) = err.splitlines()
    told = json.loads(line)
    assert out == ""
    assert "s3cret" not in line
    assert (told["part"], told["event"], told["url"]) == ("test", "failed", "rtsp://***@10.0.0.1/x")
    assert told["several"] == {"a": ["rtsp://***@10.0.0.1/x", 3]}
    assert "Traceback" in told["exception"]
