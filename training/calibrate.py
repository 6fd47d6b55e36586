"""Stage 3: the search for retrieval heads, on rendered hours of their own seeds (see `daemon/calibration/search.py`).

The curve of the model's confidence is fitted afterwards, by `benchmarks/confidence.py --fit`.
"""

from __future__ import annotations

from pathlib import Path

from longwatch.daemon.calibration.calibration import FILE
from longwatch.daemon.calibration.needles import SceneNeedles
from longwatch.daemon.calibration.search import calibrate as measure
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM

NEEDLES = SceneNeedles(streams=12, blocks=1000, each=16)


def calibrate(folder: Path) -> None:
    """Writes `calibration.json` into a checkpoint folder and prints the recall of the chosen heads."""
    lm = VideoLM.load(ModelConfig(name=str(folder)))
    found = measure(lm, NEEDLES)
    found.save(folder / FILE)
    print(f"calibrated: {found} ({found.recall}, {found.questions} questions of other kinds)", flush=True)
