"""The client as a distribution of its own: what is in it, and that it asks a real daemon without torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import longwatch

from .daemon_process import DaemonProcess

ROOT = Path(__file__).parents[1]
YARD = '[streams.yard]\nurl = "scene://?seed=2&minutes=1&start=2026-03-02T10:00:00&busy=0.6"\npace = "fast"\n'


def project(file: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / file).read_text())


def test_it_holds_the_modules_that_clients_load_and_no_other() -> None:
    names = [f"longwatch.clients.{path.stem}" for path in (ROOT / "clients").glob("[!_]*.py")]
    code = f"import sys, {', '.join(names)}; print(*(name for name in sys.modules if name.startswith('longwatch.')))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = {name for name in done.stdout.split() if name.startswith("longwatch.daemon.")}
    assert loaded == set(project("clients/pyproject.toml")["tool"]["setuptools"]["py-modules"])


def test_it_has_the_version_and_the_bounds_of_the_whole() -> None:
    client, whole = project("clients/pyproject.toml")["project"], project("pyproject.toml")["project"]
    assert client["version"] == whole["version"] == longwatch.__version__
    assert set(client["dependencies"]) < set(whole["dependencies"])


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that holds the client alone."""
    folder = tmp_path_factory.mktemp("client")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    programs = folder / "venv" / "bin"
    install = [programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    wanted = [*project("clients/pyproject.toml")["project"]["dependencies"], "setuptools>=77"]
    done = subprocess.run(
        [*install, "--constraint", ROOT / "constraints.txt", *wanted], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"its dependencies cannot be had: {done.stderr.splitlines()[-1]}")
    sources = folder / "sources"
    shutil.copytree(ROOT / "clients", sources / "clients", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copytree(ROOT / "daemon", sources / "daemon", ignore=shutil.ignore_patterns("__pycache__", "embedded"))
    shutil.copy(ROOT / "__init__.py", sources)
    subprocess.run([*install, "--no-deps", "--no-build-isolation", sources / "clients"], check=True)
    shutil.rmtree(sources)  # nothing of it is needed any more
    return programs


@pytest.mark.slow
def test_it_installs_without_torch_and_asks_a_real_daemon(client: Path, tmp_path: Path) -> None:
    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    assert run(client / "python", "-c", "import torch").returncode == 1
    assert run(client / "longwatch", "--version").stdout == f"longwatch {longwatch.__version__}\n"
    with DaemonProcess(tmp_path, YARD) as daemon:
        daemon.wait(lambda s: s.streams[0].state == "ended" and not s.queued_blocks)
        asked = run(client / "longwatch", "ask", "is the door open now?", "--address", daemon.address)
    assert (asked.returncode, asked.stderr) == (0, "")
    assert asked.stdout.startswith(("yes\n", "no\n"))
    assert list((tmp_path / "longwatch-evidence").glob("yard-*.jpg"))


@pytest.mark.slow
def test_a_command_that_needs_the_daemon_says_what_to_install(client: Path, tmp_path: Path) -> None:
    for command in (["serve", "x.toml"], ["validate", "x.toml"], ["demo"]):
        done = subprocess.run(
            [client / "longwatch", *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert done.stderr == "longwatch: only the client is installed here; for this command install longwatch\n"
