"""A disk that fills up under a running daemon: it lives, says so, goes on from RAM, and recovers by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .daemon_process import DaemonProcess

pytestmark = pytest.mark.slow

RAM_BYTES = 1 << 20
STREAM = (
    '[streams.yard]\nurl = "scene://?seed=2&busy=0.8"\nfps = 15\ngate_levels = 0\n'  # the clock goes on, as a camera's
)
NOTHING_MORE = ("sh", "-c", 'ulimit -S -f 0 && exec "$@"', "sh")


def test_a_full_disk_costs_only_what_ram_cannot_hold_and_that_is_a_gap(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path, STREAM, f"ram_bytes = {RAM_BYTES}") as daemon:
        # 1. The disk takes no more: blocks wait in RAM until that is full, and then nothing is kept.
        durable = daemon.wait(lambda s: s.streams[0].durable_id >= 20).streams[0].durable_id
        (file,) = (tmp_path / "store").glob("*/*/data.mdb")
        daemon.limit_files(file.stat().st_size)
        full = daemon.wait(lambda s: bool(s.streams[0].gaps))
        (stream,) = full.streams
        assert "cannot take more: " in full.store_error
        assert stream.last_error == f"nothing is kept: {full.store_error}"
        assert stream.gaps[0].end_ns == 0
        assert stream.durable_id < stream.blocks
        assert {name for name, alive in full.threads.items() if not alive} == {"writer"}
        assert full.ram_bytes < 1.2 * RAM_BYTES  # a chunk of frames may come on top
        # 2. It answers, also about now: that this is not kept.
        assert daemon.client.ask("did a red car appear?").recalled
        end = daemon.client.ask("what is there now?", since_ns=stream.gaps[0].start_ns + 1)
        assert [gap.start_ns for gap in end.gaps] == [stream.gaps[0].start_ns]
        # 3. There is room again: what waited is written, what was lost is a gap, and it watches on.
        daemon.limit_files(-1)
        well = daemon.wait(lambda s: not s.store_error and any(gap.end_ns for gap in s.streams[0].gaps))
        (gap,) = well.streams[0].gaps
        assert gap.start_ns == stream.gaps[0].start_ns
        daemon.wait(lambda s: s.streams[0].durable_id > stream.blocks + 5)
        middle = (gap.start_ns + gap.end_ns) // 2
        asked = daemon.client.ask("what was there?", since_ns=middle, until_ns=middle)
        assert asked.gaps == [gap]
        daemon.wait(
            lambda _: "blocks are written again" in daemon.log.read_text()
        )  # told by who looks after the engine
        log = daemon.log.read_text()
        assert log.count("nothing is written; blocks wait in RAM") == 1
        assert log.count("nothing is kept") == 1
        assert log.count("blocks are written again") == 1
        # 4. Nothing durable is lost by a kill, nor is the gap; on a full disk too it starts and answers.
        daemon.kill()
        daemon.start(*NOTHING_MORE)
        (again,) = daemon.client.status().streams
        assert gap in again.gaps
        assert again.durable_id > stream.blocks > durable
        assert daemon.client.ask("what was there?", until_ns=gap.start_ns).recalled
        daemon.limit_files(-1)
        daemon.wait(lambda s: not s.store_error)


def test_a_log_that_cannot_be_written_ends_nothing() -> None:
    code = (
        "from longwatch.daemon.log import get_logger, set_up\n"
        "set_up(level='info', as_json=False)\n"
        "for number in range(1000): get_logger('test').error('a long line ' * 100, number=number)\n"
        "print('lives', flush=True)"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=full, text=True, check=False)
    assert done.stdout == "lives\n"
