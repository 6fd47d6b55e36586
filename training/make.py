"""From nothing to the shipped checkpoint: `python -m training.make [--minutes 85]`.

Stages: vision tower (about ten minutes on two cores), text model (`--minutes` of processor time, resumable),
calibration. Training, evaluation and calibration use different seeds. The work lies in `training/work`; the last step
copies the checkpoint to `daemon/model/embedded`.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from longwatch.daemon.model.family import EMBEDDED

from . import language, pair, vision
from .calibrate import calibrate


def main() -> None:
    """Runs the stages that are still to be done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=85.0, help="processor time of the language stage")
    parser.add_argument("--work", type=Path, default=Path("training/work"))
    parser.add_argument("--start", type=Path, help="a trained checkpoint to go on from, instead of a new vision tower")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    eyes, whole = options.work / "vision", options.work / "language"
    if options.start is None and not (eyes / "model.safetensors").exists():
        pair.run(vision.train, eyes, 20_000, 4, 64)
    pair.run(language.train, options.start or eyes, whole, options.minutes, 100, options.start is None)
    calibrate(whole)
    shutil.copytree(whole, EMBEDDED, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
