"""The crash benchmark in short: a daemon is killed at some kinds of moment, and loses nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "crash.py"


def test_a_daemon_killed_as_it_forgets_commits_or_watches_loses_nothing_durable() -> None:
    command = [sys.executable, str(BENCHMARK), "--kills", "3", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=300, check=False)
    result = json.loads(done.stdout)
    assert (result["durable_lost"], result["recall_changed"], result["half_forgotten"]) == (0, 0, 0), result
    assert result["durable"] > 20
    assert result["asked"] >= 16
