"""The crash benchmark in short: a daemon is killed at every kind of moment, and loses nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "crash.py"


def test_a_daemon_killed_as_it_starts_commits_forgets_or_fades_loses_nothing_durable() -> None:
    command = [sys.executable, str(BENCHMARK), "--kills", "15", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=600, check=False)
    result = json.loads(done.stdout)
    assert (result["durable_lost"], result["recall_changed"], result["half_forgotten"]) == (0, 0, 0), result
    assert not result["half_faded"], result
    assert result["durable"] > 100
    assert result["asked"] >= 30
    assert result["fadings_cut_short"] + result["forgettings_cut_short"] > 0
