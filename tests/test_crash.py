"""The crash benchmark in short: a daemon is killed at every kind of moment, and keeps what it promised."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "crash.py"


@pytest.mark.slow
def test_a_daemon_killed_at_every_kind_of_moment_loses_nothing_brings_nothing_back_and_gives_no_id_twice() -> None:
    command = [sys.executable, str(BENCHMARK), "--kills", "9", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=600, check=False)
    result = json.loads(done.stdout)
    for wrong in ("durable_lost", "back_from_the_dead", "ids_twice", "recall_changed", "half_forgotten"):
        assert result[wrong] == 0, result
    assert not result["half_faded"], result
    assert result["durable"] > 100
    assert result["forgotten"] > 10
    assert result["asked"] >= 10
    for moment in ("readd", "tail", "drop"):
        assert result["reached"][moment], result
