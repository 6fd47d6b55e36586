"""A store whose file was damaged while the daemon was down: it starts, says what is damaged, and answers without it."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from .daemon_process import DaemonProcess

pytestmark = pytest.mark.slow

STREAM = '[streams.yard]\nurl = "scene://?seed=2&minutes=2&start=2026-03-02T10:00:00&busy=0.6"\npace = "fast"\n'


def flip_a_byte(file: Path, table: str, block_id: int) -> None:
    """In the middle of a block's value, in the file itself, wherever a commit left it."""
    with lmdb.open(str(file.parent), max_dbs=4, map_size=1 << 30) as env:
        place = env.open_db(table.encode(), create=False)
        with env.begin(db=place) as txn:
            value = txn.get(struct.pack(">Q", block_id))
    assert value is not None
    data, middle = file.read_bytes(), len(value) // 2
    flipped = value[:middle] + bytes([value[middle] ^ 0x10]) + value[middle + 1 :]
    assert value in data
    file.write_bytes(data.replace(value, flipped))


def test_damaged_blocks_are_counted_and_left_out_and_all_else_is_answered(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path, STREAM) as daemon:
        whole = daemon.wait(lambda s: s.streams[0].state == "ended" and not s.queued_blocks).streams[0]
        blocks, early = whole.blocks, (whole.first_ns, whole.first_ns + 75_000_000_000)
        before = daemon.client.ask("what was there?", since_ns=early[0], until_ns=early[1])
        pictured = next(e.block_id for e in before.evidence if e.block_id > 3)
        daemon.stop()
        (file,) = (tmp_path / "store").glob("*/*/data.mdb")
        flip_a_byte(file, "signatures", 1)
        flip_a_byte(file, "spans", 2)
        flip_a_byte(file, "blocks", 3)
        flip_a_byte(file, "pictures", pictured)
        flip_a_byte(file, "blocks", blocks)  # in the window that is restored
        daemon.start()
        status = daemon.client.status()
        assert status.damaged_blocks == 3  # found by starting: a signature, a span, and the newest block
        assert all(status.threads.values())
        end = daemon.client.ask("what was there?", since_ns=early[0], until_ns=early[1])
        assert end.text
        assert end.recalled == [i for i in before.recalled if i not in (1, 2, 3)]
        assert {e.block_id: e.picture for e in end.evidence}[pictured] == b""
        assert sum(not e.picture for e in end.evidence) == 1
        for question in ("what is there now?", "did a red car appear?", "when did the green van come?"):
            assert daemon.client.ask(question).text
        assert daemon.client.status().damaged_blocks == 5
        log = daemon.log.read_text()
        assert log.count("block damaged and left out") == 5
        said = subprocess.run(
            [sys.executable, "-m", "longwatch.clients.cli", "status", "--address", daemon.address],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "5 blocks are damaged and left out of answers; the daemon's log names them" in said.stdout


def test_a_day_whose_file_is_broken_is_set_aside_and_said_and_all_else_goes_on(tmp_path: Path) -> None:
    streams = STREAM + STREAM.replace("yard", "door").replace("seed=2", "seed=3")
    with DaemonProcess(tmp_path, streams) as daemon:
        seen = daemon.wait(lambda s: all(x.state == "ended" for x in s.streams) and not s.queued_blocks).streams
        daemon.stop()
        (file,) = (tmp_path / "store" / "yard").rglob("data.mdb")
        data = bytearray(file.read_bytes())
        for page in range(2 * 4096, len(data), 4096):
            data[page + 12] ^= 0x40  # where its entries are said to end
        file.write_bytes(data)
        daemon.start()
        again = daemon.wait(lambda s: all(x.state == "ended" for x in s.streams) and not s.queued_blocks).streams
        assert [stream.blocks for stream in again] == [stream.blocks for stream in seen]  # a scene is seen again
        assert again[0].durable_id == 2 * seen[0].durable_id == 2 * seen[0].blocks  # under ids of its own
        log = daemon.log.read_text()
        assert log.count("a day's file cannot be read; its blocks are not found") == 1
        assert "set aside as data.mdb.broken-" in log
        assert daemon.client.ask("what happened?", stream="door").text


def doctor(daemon: DaemonProcess, *options: str) -> tuple[int, dict[str, list[str]]]:
    """Exit code, and what `longwatch doctor` says of the memory by state."""
    command = [sys.executable, "-m", "longwatch.clients.cli", "doctor", str(daemon.config), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    said: dict[str, list[str]] = {"ok": [], "note": [], "bad": []}
    for finding in json.loads(done.stdout)["findings"]:
        if finding["about"] == "memory":
            said[finding["state"]].append(finding["what"])
    return done.returncode, said


def test_the_doctor_finds_every_damaged_value_and_repairs_the_store(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path, STREAM) as daemon:
        blocks = daemon.wait(lambda s: s.streams[0].state == "ended" and not s.queued_blocks).streams[0].blocks
        code, said = doctor(daemon)
        assert code == 1
        assert "is in use by process" in said["bad"][0]
        daemon.stop()
        code, said = doctor(daemon)
        assert (code, said["bad"]) == (0, [])
        assert f"yard 2026-03-02: {blocks} blocks are whole" in said["ok"][-1]

        (file,) = (tmp_path / "store").glob("*/*/data.mdb")
        for number, table in enumerate(("signatures", "spans", "blocks", "pictures"), 1):
            flip_a_byte(file, table, number)
        code, said = doctor(daemon)
        assert code == 1
        assert f"{blocks - 4} blocks are whole, 4 damaged (block 1: its signature: the checksum" in said["bad"][0]
        code, said = doctor(daemon, "--repair")
        assert (code, said["bad"]) == (0, [])
        assert "what was damaged is removed" in said["ok"][-1]
        code, said = doctor(daemon)
        assert f"{blocks - 3} blocks are whole" in said["ok"][-1]  # block 4 lost its picture only
        daemon.start()
        assert daemon.client.status().streams[0].blocks == blocks - 3
        daemon.stop()

        file.write_bytes(b"not a database" * 1000)
        code, said = doctor(daemon)
        assert code == 1
        assert "the file cannot be read (" in said["bad"][0]
        code, said = doctor(daemon, "--repair")
        assert "set aside as data.mdb.broken-" in said["ok"][-1]
        assert list(file.parent.glob("data.mdb.broken-*"))
        daemon.start()
        assert daemon.wait(lambda s: s.streams[0].state == "ended").streams[0].blocks == blocks  # it is seen again
