"""Fixtures that several folders of tests share."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from longwatch.daemon.model.family import EMBEDDED

from .daemon_process import DaemonProcess
from .tiny_model import YARN, write_checkpoint

torch.set_num_threads(1)
os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="longwatch-tests-")  # no test meets the user's own daemon
atexit.register(shutil.rmtree, os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)
LONGEST_FILES = ("test_crash.py",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that no core ends alone with it."""
    items.sort(key=lambda item: item.path.name not in LONGEST_FILES)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test of a real daemon shows the end of the daemon's log."""
    report = yield
    daemon = getattr(item, "funcargs", {}).get("daemon")
    if report.failed and isinstance(daemon, DaemonProcess):
        report.sections.append(("the daemon's log", daemon.log.read_text()[-8000:]))
    return report


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint with plain rotary."""
    return write_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session", params=["embedded", "tiny", "yarn"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> str:
    """Checkpoints of three geometries: the shipped one, a random one, and a random one with YaRN."""
    if request.param == "embedded":
        return str(EMBEDDED)
    if request.param == "tiny":
        return str(tiny_folder)
    return str(write_checkpoint(tmp_path_factory.mktemp("yarn"), rope=YARN, seed=1))


@pytest.fixture
def frames() -> list[NDArray[np.uint8]]:
    """Ten random pictures of an odd size."""
    rng = np.random.default_rng(3)
    return [rng.integers(0, 255, (72, 101, 3), dtype=np.uint8) for _ in range(10)]
