"""When a model is calibrated: by the daemon at its first start with it, and by `longwatch calibrate`.

Exit code 0 if the heads are good enough; 1 if none are, or the model cannot be measured; 2 if the configuration is
wrong or a daemon is running.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ...memory.errors import StorageError, StoreInUse
from ...memory.store import Store
from ...retrieval.errors import RetrievalError
from ..config import DaemonConfig, load_config
from ..errors import CaptureError, ConfigError, DaemonError
from ..log import get_logger
from ..model.video_lm import VideoLM
from .calibration import Calibration, find_calibration, own_file
from .needles import Needles, SceneNeedles, TextNeedles
from .search import OnProgress, calibrate

NEEDLES: dict[str, type[TextNeedles] | type[SceneNeedles]] = {"text": TextNeedles, "scenes": SceneNeedles}
_log = get_logger("calibration")


def find_or_calibrate(
    config: DaemonConfig, model: VideoLM, store: Store, on_progress: OnProgress
) -> Calibration | None:
    """The calibration of a daemon's model. If there is none, makes one, or returns None if none is wanted.

    Raises:
        CalibrationError: it is unreadable, or cannot be saved.
        ModelError: the model cannot be measured.
    """
    found = find_calibration(config.model.name, model.fingerprint, store.folder)
    if config.retrieval.retriever not in ("heads", "hybrid"):
        return found
    if found is None and not config.retrieval.calibrate:
        _log.warning("the model has no calibration; ranking by mean keys as ReKV does", model=config.model.name)
        return None
    if found is None:
        began = time.monotonic()
        _log.info("looking for the retrieval heads of the model, only this once", model=config.model.name)
        found = recalibrate(config, model, store, None, on_progress)
        _log.info("calibrated", found=str(found), needles=found.needles, seconds=round(time.monotonic() - began, 1))
    if not found.good:
        _log.warning("no head finds well enough; ranking by mean keys as ReKV does", found=str(found))
    return found


def recalibrate(
    config: DaemonConfig, model: VideoLM, store: Store, needles: Needles | None, on_progress: OnProgress
) -> Calibration:
    """Calibrates a model and saves the result. It notes that the signatures in the store are for the heads before.

    Raises:
        CalibrationError: an earlier one is unreadable, or the new one cannot be saved.
        ModelError: the model cannot be measured.
    """
    found = calibrate(model, needles, on_progress)
    before = find_calibration(config.model.name, model.fingerprint, store.folder)
    if before is not None:
        found = msgspec.structs.replace(found, confidence=before.confidence)
    if before is not None and before.good and before.heads == found.heads:
        found = msgspec.structs.replace(found, foreign=before.foreign)
    else:
        found = msgspec.structs.replace(found, foreign={name: store.last_id(name) for name in store.streams()})
        # Before the save: if a crash comes between, no index file of the old heads may be left to the new ones.
        for partition in (day for name in store.streams() for day in store.partitions(name)):
            partition.index_file.unlink(missing_ok=True)
    found.save(own_file(model.fingerprint, store.folder))
    return found


def draw_table(found: Calibration) -> Table:
    """What each head finds by itself, and what all find together."""
    table = Table("layer", "head", "recall@8", box=None)
    for (layer, head), alone in zip(found.heads, found.alone, strict=True):
        table.add_row(str(layer), str(head), f"{alone:.2f}")
    table.add_row("all", "together", f"{found.recall['recall@8']:.2f}")
    return table


def main() -> None:
    """Prints the heads and what they find, as a table or one JSON object."""
    parser = argparse.ArgumentParser(prog="longwatch calibrate")
    parser.add_argument("config", type=Path)
    parser.add_argument("--needles", choices=NEEDLES)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        found = _run(options)
    except (DaemonError, StorageError, RetrievalError) as exc:
        print(f"longwatch: {exc}", file=sys.stderr)
        sys.exit(2 if isinstance(exc, ConfigError | CaptureError | StoreInUse) else 1)
    if options.json:
        print(msgspec.json.encode({"good": found.good, **msgspec.to_builtins(found)}).decode())
    else:
        out = Console(markup=False, highlight=False)
        out.print(draw_table(found))
        out.print(
            f"checked on {found.questions} questions of other kinds ({', '.join(found.checked_on)})", soft_wrap=True
        )
        if not found.good:
            out.print("no head finds well enough, so blocks are ranked by mean keys (rekv-shared)", soft_wrap=True)
    sys.exit(0 if found.good else 1)


def _run(options: argparse.Namespace) -> Calibration:
    config = load_config(options.config)
    needles = None if options.needles is None else NEEDLES[options.needles]()
    store = Store(config.memory)
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("loading the model", total=None)
            model = VideoLM.load(config.model)
            progress.update(task, description="calibrating", total=1.0)
            return recalibrate(config, model, store, needles, lambda share: progress.update(task, completed=share))
    finally:
        store.close()


if __name__ == "__main__":
    main()
