"""The power loss benchmark in short: whatever of the daemon's last writes is missing, what it promised holds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "powerloss.py"


def _can_trace() -> bool:
    strace = shutil.which("strace")
    return strace is not None and not subprocess.run([strace, "-f", "-o", "/dev/null", "true"], check=False).returncode


@pytest.mark.skipif(not _can_trace(), reason="Debian's strace is not installed, or may trace nothing here")
@pytest.mark.slow
def test_a_store_that_lost_power_has_all_that_was_durable_and_nothing_that_was_forgotten() -> None:
    command = [sys.executable, str(BENCHMARK), "--states", "60", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=600, check=False)
    result = json.loads(done.stdout)
    assert result["violations"] == 0, result["faults"]
    assert result["states"] == 60
    assert result["durable"] > 100
    assert result["forgotten"] > 10
