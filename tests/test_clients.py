"""The command line against a real server, and the times that people type."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import cv2
import msgspec
import numpy as np
import pytest
import zmq

import longwatch
from longwatch.clients import Client, pictures
from longwatch.clients.errors import BadAddress, BadFolder, BadKeys, BadTime, ClientTimeout, Refused
from longwatch.clients.report import status_lines, streams_table
from longwatch.clients.times import SECOND_NS, clock, parse_past, parse_span, parse_time, parse_zone
from longwatch.daemon.protocol import DayDropping, Delta, ErrorReply, decode_request, encode
from longwatch.demo.process import free_ports

from .wire import MARCH_2_NS, Wire, answer_end, running, status_reply

NOW_NS = MARCH_2_NS + 3600 * SECOND_NS  # 11:00, the newest time that the yard has seen


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND_NS


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with running() as wire:
        yield wire


def test_what_a_daemon_said_last_is_heard_although_it_is_gone() -> None:
    (port,) = free_ports(1)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with Client(f"tcp://127.0.0.1:{port}") as client:
        with context.socket(zmq.ROUTER) as router:
            router.bind(f"tcp://127.0.0.1:{port}")
            answer = client.ask_stream("was the door open?")
            with ThreadPoolExecutor() as pool:
                first = pool.submit(next, answer)
                name, request = router.recv_multipart()
                request_id = decode_request(request).request_id
                router.send_multipart([name, encode(Delta(request_id=request_id, text="no"))])
                assert first.result(10) == "no"
            router.send_multipart([name, encode(ErrorReply(request_id=request_id, code="stopping", message="bye"))])
        context.term()  # all is sent, and the connection is closed
        time.sleep(0.2)
        with pytest.raises(Refused, match="bye"):
            next(answer)


def start(wire: Wire, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "longwatch.clients.cli", *arguments]
    environment = {**os.environ, "LONGWATCH_ADDRESS": wire.config.address, "COLUMNS": "200"}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)


def run(wire: Wire, folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `longwatch ARGUMENTS`."""
    process = start(wire, folder, *arguments)
    out, err = process.communicate(timeout=20)
    assert "Traceback" not in err
    return process.returncode, out, err


def test_ask_prints_the_answer_its_evidence_and_the_gaps_and_saves_the_pictures(wire: Wire, tmp_path: Path) -> None:
    code, out, err = run(wire, tmp_path, "ask", "who came?", "--stream", "yard", "--tz", "Europe/Berlin")
    assert (code, err) == (0, "")
    answer, sure, *table = out.splitlines()
    assert answer.strip() == "who came?"
    assert sure == "confidence 0.62; not sure, look at the pictures"
    path = "longwatch-evidence/yard-2026-03-02T11-00-00-7.jpg"
    assert table[1].split() == ["2026-03-02", "11:00:00", "11:00:01", "50", "%", "past", path]  # 10:00 UTC
    assert table[2].startswith("no video from 2026-03-02 11:00:00 to 2026-03-02 11:01:00")
    (picture,) = (tmp_path / "longwatch-evidence").iterdir()
    assert picture.name == "yard-2026-03-02T11-00-00-7.jpg"
    assert picture.read_bytes() == b"jpeg"


def test_an_answer_that_rests_on_nothing_shows_neither_a_confidence_nor_an_empty_table(
    wire: Wire, tmp_path: Path
) -> None:
    code, out, _ = run(wire, tmp_path, "ask", "nothing")
    assert (code, out) == (0, "nothing \n")


def test_a_question_that_names_none_of_several_streams_is_told_the_options(wire: Wire, tmp_path: Path) -> None:
    wire.service.streams["gate"] = {"url": "0"}
    code, _, err = run(wire, tmp_path, "ask", "who came?")
    del wire.service.streams["gate"]
    assert (code, err) == (4, "longwatch: which stream? add --stream yard or --stream gate\n")


def test_a_table_in_a_pipe_is_as_wide_as_it_must_be(wire: Wire, tmp_path: Path) -> None:
    wire.service.streams["far"] = {"url": f"http://camera/{'long/' * 60}"}
    _, listed, _ = run(wire, tmp_path, "streams", "list")
    url = wire.service.streams.pop("far")["url"]
    assert f" {url}" in listed


@pytest.mark.parametrize("arguments", [["--version"], ["version"]])
def test_the_version_is_printed_without_a_daemon(wire: Wire, tmp_path: Path, arguments: list[str]) -> None:
    assert run(wire, tmp_path, *arguments) == (0, f"longwatch {longwatch.__version__}\n", "")


def test_every_command_helps_with_h(wire: Wire, tmp_path: Path) -> None:
    for command in ([], ["ask"], ["streams", "add"], ["serve"]):
        code, out, err = run(wire, tmp_path, *command, "-h")
        assert (code, err) == (0, "")
        assert "Usage: " + " ".join(["longwatch", *command]) in out


def test_the_shell_completes_commands() -> None:
    asked = {"_LONGWATCH_COMPLETE": "complete_bash", "COMP_WORDS": "longwatch streams ", "COMP_CWORD": "2"}
    command = [sys.executable, "-m", "longwatch.clients.cli"]
    done = subprocess.run(command, env={**os.environ, **asked}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["list", "add", "remove"]


def test_ask_in_json_is_one_line_with_paths_of_pictures(wire: Wire, tmp_path: Path) -> None:
    code, out, _ = run(wire, tmp_path, "ask", "who came?", "--json", "--pictures", "seen", "--since", "-10m")
    told = json.loads(out)
    assert (code, told["text"], told["evidence"][0]["picture"]) == (
        0,
        "who came?",
        "seen/yard-2026-03-02T10-00-00-7.jpg",
    )
    assert wire.service.asked[-1].since_ns == NOW_NS - 600 * SECOND_NS


def test_times_reach_the_daemon_as_the_stream_s_own(wire: Wire, tmp_path: Path) -> None:
    run(wire, tmp_path, "ask", "who came?", "--at", "11:30")
    asked = wire.service.asked[-1]
    assert (asked.since_ns, asked.until_ns) == (at("2026-03-01T11:30:00"), at("2026-03-01T11:30:59"))


def test_a_time_in_words_is_left_to_the_daemon(wire: Wire, tmp_path: Path) -> None:
    run(wire, tmp_path, "ask", "who came?", "--at", "yesterday at 14:05")
    run(wire, tmp_path, "ask", "who came?", "--since", "yesterday", "--until", "9:00")
    at_words, span_words = wire.service.asked[-2:]
    assert (at_words.time, at_words.since_ns, at_words.until_ns) == ("yesterday at 14:05", None, None)
    assert (span_words.time, span_words.since_ns) == ("since yesterday until 9:00", None)


def test_times_are_those_of_the_stream_s_zone_unless_another_is_named(wire: Wire, tmp_path: Path) -> None:
    wire.service.streams["gate"] = {"url": "0", "time_zone": "America/New_York"}
    _, out, _ = run(wire, tmp_path, "ask", "who came?", "--stream", "gate", "--at", "05:30")
    asked = wire.service.asked[-1]
    assert (asked.since_ns, asked.until_ns) == (at("2026-03-02T10:30:00"), at("2026-03-02T10:30:59"))
    assert "2026-03-02 05:00:00" in out
    assert [p.name for p in (tmp_path / "longwatch-evidence").iterdir()] == ["yard-2026-03-02T05-00-00-7.jpg"]
    _, listed, _ = run(wire, tmp_path, "streams", "list")
    (gate,) = (line.split() for line in listed.splitlines() if line.split()[0] == "gate")
    assert gate[6:8] == ["2026-03-02", "06:00:00"]
    run(wire, tmp_path, "ask", "who came?", "--stream", "gate", "--at", "05:30", "--tz", "UTC")
    del wire.service.streams["gate"]
    assert wire.service.asked[-1].since_ns == at("2026-03-02T05:30:00")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["ask", "who?", "--stream", "garden"], 4, "no stream garden; there are: yard"),
        (["ask", ""], 4, "the question is empty"),
        (["ask", "a" * 100_000], 4, "bytes; at most 65536 are read"),
        (
            ["ask", "who?", "--at", "25:00"],
            2,
            "'25:00' is not a valid time; write 14:03, 14:03:20, 2026-03-02T14:03:20 or -10m",
        ),
        (["ask", "who?", "--at", "noon", "--tz", "UTC"], 2, "--tz works only with clock times such as 14:05"),
        (["ask", "who?", "--at", "noon", "--since", "9:00"], 2, "use --at alone, or --since and --until"),
        (["ask", "who?", "--since", "-10m", "--until", "noon"], 2, "-10m cannot be mixed with a time in words"),
        (
            ["ask", "who?", "--tz", "Mars"],
            2,
            "'Mars' is not a valid time zone; write UTC, local or a name like Europe/Berlin",
        ),
        (["status", "--address", "nonsense"], 2, "'nonsense' is not a valid address; write tcp://HOST:PORT"),
        (["status", "--keys", "nowhere"], 2, "nowhere: holds no readable client.key_secret and server.key"),
        (["streams", "remove", "garden"], 4, "no stream garden"),
        (
            ["streams", "add", "No!", "x"],
            2,
            "'No!' is not a valid name; names of streams are of a-z, 0-9, _ and -, 64 at most",
        ),
        (["keys", "k", "--role", "king"], 2, "--role: king is neither ask nor manage"),
        (["status", "--address", "ipc:///nowhere/socket"], 3, "no daemon answers at ipc:///nowhere/socket"),
        (["validate", "none.toml"], 2, "none.toml: No such file or directory"),
        (["ask", "who?", "--pictures", "/proc/nowhere"], 2, "/proc/nowhere: pictures cannot be saved"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else None,
)
def test_a_mistake_is_one_sentence_and_an_exit_code(
    wire: Wire, tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    returned, _, err = run(wire, tmp_path, *arguments)
    assert (returned, len(err.splitlines())) == (code, 1), err
    assert err.startswith("longwatch: ")
    assert sentence in err


def test_without_a_daemon_every_command_says_so_and_none_hangs(wire: Wire, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    processes = [
        start(wire, tmp_path, *command, "--address", f"tcp://127.0.0.1:{port}")
        for command in (["ask", "who?"], ["status"], ["streams", "list"], ["streams", "add", "a", "0"])
    ]
    for process in processes:
        _, err = process.communicate(timeout=20)
        assert process.returncode == 3
        assert err.startswith(f"longwatch: no daemon answers at tcp://127.0.0.1:{port}; start it with longwatch serve")


def test_streams_are_added_shown_and_removed_and_addresses_are_no_markup(wire: Wire, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    assert run(wire, tmp_path, "streams", "add", "clip", "clip.mp4", "--fps", "2", "--pace", "fast")[0] == 0
    assert wire.service.streams["clip"] == {"url": f"{tmp_path}/clip.mp4", "fps": 2.0, "pace": "fast"}
    _, listed, _ = run(wire, tmp_path, "streams", "list")
    assert "scene://[::1]:sun:[/]" in listed
    assert "clip.mp4" in listed
    assert run(wire, tmp_path, "streams", "remove", "clip")[0] == 0
    code, out, _ = run(wire, tmp_path, "status", "--json")
    assert (code, [stream["name"] for stream in json.loads(out)["streams"]]) == (0, ["yard"])


def test_keys_are_made_with_a_role_which_those_that_are_there_keep(wire: Wire, tmp_path: Path) -> None:
    assert run(wire, tmp_path, "keys", "k", "--role", "ask")[0] == 0
    code, out, _ = run(wire, tmp_path, "keys", "k", "--clients", "2", "--role", "manage")
    use = "Copy it to the client's computer and run there: longwatch ask --address tcp://HOST:PORT --keys"
    assert (code, out.splitlines()[:2]) == (
        0,
        [
            f"k/client-1 may ask. {use} client-1 …",
            f"k/client-2 may ask and manage. {use} client-2 …",
        ],
    )


def test_chat_answers_line_by_line_until_an_empty_one(wire: Wire, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "longwatch.clients.cli", "chat", "--address", wire.config.address]
    lines = "who came?\nstumble\nand when?\n\nnot asked\n"
    done = subprocess.run(command, cwd=tmp_path, input=lines, capture_output=True, text=True, check=True, timeout=20)
    assert [asked.question for asked in wire.service.asked[-2:]] == ["who came?", "and when?"]
    assert done.stderr == "the request failed; the daemon's log says why\n"


def test_an_interrupted_ask_cancels_its_answer(wire: Wire, tmp_path: Path) -> None:
    process = start(wire, tmp_path, "ask", "wait for me")
    assert process.stdout is not None
    assert process.stdout.read(1) == "w"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode != 0
    assert "Traceback" not in err
    assert next(reversed(wire.service.cancelled.values())).wait(5)


def test_serve_hands_over_to_the_daemon_s_program(wire: Wire, tmp_path: Path) -> None:
    assert run(wire, tmp_path, "serve", "none.toml") == (2, "", "longwatch: none.toml: No such file or directory\n")


def test_closing_the_iterator_cancels_the_answer(wire: Wire) -> None:
    with wire.client() as client:
        pieces = client.ask_stream("wait")
        next(pieces)
        pieces.close()  # type: ignore[attr-defined]
        assert next(reversed(wire.service.cancelled.values())).wait(5)
        assert client.ask("next").text == "next"  # late pieces of the cancelled one are passed over


def test_a_daemon_that_says_nothing_is_a_timeout_and_the_answer_is_cancelled(wire: Wire) -> None:
    with wire.client(timeout_seconds=0.5) as client:
        with pytest.raises(ClientTimeout, match=r"said nothing for 0\.5 s"):
            client.ask("brood")
        assert next(reversed(wire.service.cancelled.values())).wait(5)
        assert client.ask("next").text == "next"


def test_an_address_or_keys_that_are_none_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadAddress, match="is not a valid address; write tcp://HOST:PORT"):
        Client("127.0.0.1")
    with pytest.raises(BadKeys, match="holds no readable"):
        Client(keys_folder=str(tmp_path))


@pytest.mark.parametrize(
    ("text", "start", "seconds"),
    [
        ("10:59", "2026-03-02T10:59:00", 60),
        ("10:59:30", "2026-03-02T10:59:30", 1),
        ("11:01", "2026-03-01T11:01:00", 60),  # not yet today: yesterday
        ("-10m", "2026-03-02T10:50:00", 1),
        ("-2d", "2026-02-28T11:00:00", 1),
        ("2026-02-28", "2026-02-28T00:00:00", 86400),
        ("2026-02-28T23:59", "2026-02-28T23:59:00", 60),
        ("2026-02-28T23:59:59+01:00", "2026-02-28T22:59:59", 1),
        ("2026-02-28T23:59+01:00", "2026-02-28T22:59:00", 60),
    ],
)
def test_a_time_is_read_from_the_newest_moment_of_the_stream(text: str, start: str, seconds: int) -> None:
    assert parse_time(text, NOW_NS) == (at(start), seconds * SECOND_NS)


def test_a_time_is_read_and_shown_in_the_zone_that_was_named() -> None:
    berlin = parse_zone("Europe/Berlin")
    assert parse_time("11:59", NOW_NS, berlin)[0] == at("2026-03-02T10:59:00")
    assert parse_time("2026-07-01T12:00", NOW_NS, berlin)[0] == at("2026-07-01T10:00:00")
    assert clock(NOW_NS, berlin) == "2026-03-02 12:00:00"
    assert (parse_zone("UTC"), berlin) == (UTC, ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize(
    "text", ["", "25:00", "12:60", "noon", "-10", "-10y", "2026-13-01", "1969-12-31", "9999-01-01"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(BadTime):
        parse_time(text, NOW_NS)


def test_a_span_is_open_where_nothing_is_said_and_at_stands_alone() -> None:
    assert parse_span("10:30", None, None, NOW_NS) == (at("2026-03-02T10:30:00"), None)
    assert parse_span(None, None, "10:30:10", NOW_NS) == (at("2026-03-02T10:30:08"), at("2026-03-02T10:30:12"))
    assert parse_span("-99999d", None, None, NOW_NS) == (0, None)
    for mistake in (("10:30", None, "10:30"), ("10:30:01", "10:30:00", None), ("10:30", "10:29", None)):
        with pytest.raises(BadTime):
            parse_span(*mistake, NOW_NS)


@pytest.mark.parametrize(
    ("since", "until", "last"),
    [
        ("10:30", "10:30", "2026-03-02T10:31:00"),
        ("10:30:10", "10:30:10", "2026-03-02T10:30:11"),
        ("2026-03-01", "2026-03-01", "2026-03-02T00:00:00"),
        ("2026-03-01T08:00", "2026-03-01T09:15", "2026-03-01T09:16:00"),
    ],
)
def test_an_end_lasts_as_long_as_what_it_names(since: str, until: str, last: str) -> None:
    assert parse_span(since, until, None, NOW_NS)[1] == at(last) - 1


@pytest.mark.parametrize(
    ("since", "until", "span"),
    [
        ("10:58", "11:05", ("2026-03-02T10:58:00", "2026-03-02T11:00:00")),  # up to now
        ("-10m", "11:05", ("2026-03-02T10:50:00", "2026-03-02T11:00:00")),
        (None, "11:05", (None, "2026-03-02T11:00:00")),
        ("23:00", "23:30:00", ("2026-03-01T23:00:00", "2026-03-01T23:30:01")),  # yesterday's
        ("23:00", "10:00:00", ("2026-03-01T23:00:00", "2026-03-02T10:00:01")),
    ],
)
def test_an_end_that_is_still_to_come_means_up_to_now(
    since: str | None, until: str, span: tuple[str | None, str]
) -> None:
    since_ns, until_ns = parse_span(since, until, None, NOW_NS)
    begin, end = (None if text is None else at(text) for text in span)
    assert (since_ns, until_ns) in {(begin, end), (begin, (end or 0) - 1)}


def test_what_is_forgotten_is_never_quietly_another_day() -> None:
    for since, until in (("11:20", "10:50"), ("11:20", None), ("23:00", "10:00"), (None, "23:00")):
        with pytest.raises(BadTime, match="on 2026-03-02 is in the future; for the day before, write 2026-03-01T"):
            parse_past(since, until, NOW_NS)
    with pytest.raises(BadTime, match=r"the span ends \(10:40\) before it begins \(10:50\)"):
        parse_past("10:50", "10:40", NOW_NS)
    assert parse_past("10:50", "11:20", NOW_NS) == (at("2026-03-02T10:50:00"), NOW_NS)
    assert parse_past("10:50:00", "10:51:00", NOW_NS) == (at("2026-03-02T10:50:00"), at("2026-03-02T10:51:01") - 1)
    assert parse_past("2026-03-01T23:00", "10:00", NOW_NS)[0] == at("2026-03-01T23:00:00")


def test_the_streams_table_calls_an_id_an_id() -> None:
    headings = [column.header for column in streams_table(status_reply("1", {})).columns]
    assert "durable id" in headings
    assert "durable" not in headings


def test_a_date_ends_at_its_own_midnight_also_where_clocks_are_changed() -> None:
    for date, hours in (("2026-10-25", 25), ("2026-03-29", 23), ("2026-03-30", 24)):
        since_ns, until_ns = parse_span(date, date, None, NOW_NS, parse_zone("Europe/Berlin"))
        assert since_ns is not None
        assert until_ns is not None
        assert until_ns + 1 - since_ns == hours * 3600 * SECOND_NS


def test_a_picture_is_drawn_in_half_blocks_of_its_colours_and_a_broken_one_not_at_all() -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    image[:, 40:] = (0, 0, 255)  # the right half is red
    encoded = cv2.imencode(".png", image)[1].tobytes()
    lines = pictures.draw(encoded).splitlines()
    assert len(lines) == 24
    cells = lines[0].split("▀")
    assert cells[1] == "\x1b[38;2;0;0;0;48;2;0;0;0m"
    assert cells[-2] == "\x1b[38;2;255;0;0;48;2;255;0;0m"
    assert pictures.draw(b"no picture") == ""


def test_pictures_that_cannot_be_saved_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadFolder, match="pictures cannot be saved"):
        pictures.save(answer_end("1", "yes"), tmp_path / "file")


def test_a_day_that_will_be_forgotten_is_named_with_its_hour_and_reason() -> None:
    dropping = [DayDropping(stream="yard", day="2026-02-01", reason="memory.keep_days: too old", at_ns=NOW_NS)]
    found = msgspec.structs.replace(status_reply("1", {}), dropping=dropping)
    assert status_lines(found)[-1] == (
        f"yard 2026-02-01 will be forgotten, not before {clock(NOW_NS)} UTC (memory.keep_days: too old)"
    )
