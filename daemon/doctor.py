"""`longwatch doctor`: what is wrong with the machine, the model or the memory of a configuration, and what helps.

Exit code 0 if all is well or was repaired, 1 if something is wrong, 2 if the configuration is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

import psutil
from rich.console import Console
from rich.progress import Progress

from ..memory.book import FOLDER, Book
from ..memory.errors import StorageError
from ..memory.examine import examine, ids_twice
from ..memory.folder import broken_files, day_files, is_there, stream_folders
from ..memory.folderlock import take_folder
from ..memory.pages import check_pages
from ..retrieval.errors import RetrievalError
from .config import DaemonConfig, load_config
from .errors import DaemonError

_PACKAGES = ("torch", "transformers", "opencv-python", "faiss-cpu", "pyzmq", "lmdb", "numpy")
_STYLES = {"ok": "green", "note": "yellow", "bad": "red"}
_SCARCE_BYTES = 1 << 30


class Finding(NamedTuple):
    """One thing that was examined. A `note` is a limitation, and not a fault."""

    about: str
    state: Literal["ok", "note", "bad"]
    what: str


def examine_all(config: DaemonConfig, repair: bool, on_progress: Callable[[int, int], None]) -> Iterator[Finding]:
    """Machine, model, and, if the model can be loaded, the memory.

    Args:
        repair: removes damaged blocks and sets unreadable files aside.
        on_progress: called with how many days of the memory are done, of how many.
    """
    yield from examine_machine(config)
    finding, fingerprint = examine_model(config)
    yield finding
    if fingerprint:
        yield from examine_memory(config, fingerprint, repair, on_progress)


def examine_machine(config: DaemonConfig) -> Iterator[Finding]:
    """Packages, programs and free RAM."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)
    yield Finding("machine", "ok", f"Python {sys.version.split()[0]}; {versions}")
    if shutil.which("ffmpeg") is None:
        yield Finding("machine", "note", "ffmpeg is not installed; only longwatch scene --out needs it")
    free_ram = psutil.virtual_memory().available
    enough = free_ram > config.memory.ram_bytes
    cache = f"{config.memory.ram_bytes / 1e9:.1f} GB"
    said = f"{free_ram / 1e9:.1f} GB RAM free; the cache may use up to {cache} (memory.ram_bytes)"
    yield Finding("machine", "ok" if enough else "note", said)


def examine_model(config: DaemonConfig) -> tuple[Finding, str]:
    """Loads the model. Returns what was found, and its fingerprint: empty if it cannot be loaded."""
    from .calibration.calibration import find_calibration
    from .model.image_text import ImageText
    from .model.video_lm import VideoLM

    try:
        model = VideoLM.load(config.model)
        found = find_calibration(config.model.name, model.fingerprint, Path(config.memory.folder))
        if config.retrieval.embedding:
            ImageText(config.retrieval.embedding, model.device, model.dtype)
    except (DaemonError, RetrievalError) as exc:
        return Finding("model", "bad", str(exc)), ""
    said = f"{model.description} on {model.device}"
    if found is None:
        return Finding("model", "note", f"{said}; no calibration yet: run longwatch calibrate"), model.fingerprint
    if not found.good:
        said = f"{said}; {found}; not good enough, so blocks are ranked by mean keys"
        return Finding("model", "note", said), model.fingerprint
    return Finding("model", "ok", f"{said}; {found}"), model.fingerprint


def examine_memory(
    config: DaemonConfig, fingerprint: str, repair: bool, on_progress: Callable[[int, int], None]
) -> Iterator[Finding]:
    """Reads every value of every day."""
    folder = Path(config.memory.folder)
    if not folder.exists():
        yield Finding("memory", "note", f"{folder} does not exist yet; the daemon will make it")
        return
    try:
        lock = take_folder(folder)
    except StorageError as exc:
        yield Finding("memory", "bad", f"{exc}; stop it, and the memory can be examined")
        return
    try:
        free = shutil.disk_usage(folder).free
        state: Literal["ok", "note"] = "ok" if free > _SCARCE_BYTES else "note"
        yield Finding("memory", state, f"{folder}: {free / 1e9:.1f} GB of the disk free")
        yield from _examine_book(folder)
        files = day_files(folder)
        days = []
        for done, file in enumerate(files):
            on_progress(done, len(files))
            day = examine(file, fingerprint, config.memory.map_bytes, repair=repair)
            days.append(day)
            yield Finding("memory", "ok" if day.healthy else "bad", str(day))
        yield from (Finding("memory", "bad", sentence) for sentence in ids_twice(days))
    except StorageError as exc:
        yield Finding("memory", "bad", str(exc))
    finally:
        os.close(lock)


def _examine_book(folder: Path) -> Iterator[Finding]:
    """What the store keeps beside its days, and what is left of broken ones."""
    data = folder / FOLDER / "data.mdb"
    if is_there(data):
        check_pages(data)
        book = Book(folder)
        promised = book.erasures()
        book.close()
        if promised:
            yield Finding(
                "memory", "note", f"{len(promised)} times are still to be erased; the daemon's next start does it"
            )
    for stream in stream_folders(folder):
        for file in broken_files(folder, stream):
            what = f"{file} was set aside: nothing of it is found; longwatch forget deletes it with its day"
            yield Finding("memory", "note", what)


def main() -> None:
    """Prints the findings, line by line or as one JSON object."""
    parser = argparse.ArgumentParser(
        prog="longwatch doctor", description="Examines the machine, the model and the memory of a configuration."
    )
    parser.add_argument("config", type=Path, help="the configuration file")
    parser.add_argument("--repair", action="store_true", help="remove damaged blocks, set unreadable files aside")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    try:
        config = load_config(options.config)
    except DaemonError as exc:
        print(f"longwatch: {exc}", file=sys.stderr)
        sys.exit(2)
    out, err = Console(markup=False, highlight=False), Console(stderr=True)
    findings: list[Finding] = []
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("examining the memory", total=None)
        for finding in examine_all(
            config, options.repair, lambda done, total: progress.update(task, completed=done, total=total)
        ):
            findings.append(finding)
            if not options.json:
                out.print(f"{finding.state:5}", style=_STYLES[finding.state], end="")
                out.print(f"{finding.about}: {finding.what}", soft_wrap=True)
    healthy = all(finding.state != "bad" for finding in findings)
    if options.json:
        print(json.dumps({"healthy": healthy, "findings": [finding._asdict() for finding in findings]}))
    elif not healthy and not options.repair:
        print("to remove damaged blocks and set unreadable files aside, add --repair")
    sys.exit(0 if healthy else 1)


if __name__ == "__main__":
    main()
