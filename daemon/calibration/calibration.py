"""`Calibration`: a model's retrieval heads as they were measured, and where that is kept.

The embedded model's calibration lies beside its weights, as any checkpoint's may. One that is made here is kept in the
memory's folder under the model's fingerprint, and comes first.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ...retrieval.errors import CalibrationError
from ...retrieval.heads import LayerHead, RetrievalHeads
from ..model.family import EMBEDDED
from .confidence import Confidence

FILE = "calibration.json"
GOOD_ENOUGH = 0.5


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured about a model; written as JSON.

    Attributes:
        heads: best first, even if none is good enough.
        group: query heads that share a KV head.
        recall: the share of needles that are found among the first 1, 4 and 8 blocks, each thing that they ask for.
            Measured on kinds of needle that the heads were not chosen on.
        needles: `text` or `scenes`.
        chosen_on, checked_on: kinds of needle.
        questions: how many were checked.
        blocks: the most blocks that a needle was searched in.
        alone: what each of the heads finds among the first 8 by itself.
        confidence: turns an answer's probability into how often such answers are right; None if it was not fitted
            (see `benchmarks/confidence.py`).
        foreign: for each stream remembered before, its newest block. Up to there signatures are for other heads.
    """

    fingerprint: str
    heads: tuple[LayerHead, ...]
    group: int
    recall: dict[str, float]
    needles: str = "scenes"
    chosen_on: tuple[str, ...] = ()
    checked_on: tuple[str, ...] = ()
    questions: int = 0
    blocks: int = 0
    alone: tuple[float, ...] = ()
    confidence: Confidence | None = None
    foreign: dict[str, int] = {}

    @property
    def good(self) -> bool:
        """Whether the heads are worth ranking by."""
        return self.recall.get("recall@8", 0.0) >= GOOD_ENOUGH

    @property
    def retrieval_heads(self) -> RetrievalHeads | None:
        """What a retriever ranks by; None if the heads are not good enough."""
        return None if not self.good else RetrievalHeads(self.heads, self.group)

    def __str__(self) -> str:
        named = ", ".join(f"{layer}.{head}" for layer, head in self.heads)
        found = self.recall.get("recall@8", 0.0)
        return f"search check: {found:.0%} of the test questions found their block in the top 8 (heads {named})"

    def save(self, file: Path) -> None:
        """Writes the file whole or not at all.

        Raises:
            CalibrationError: the file cannot be written.
        """
        new = file.with_suffix(".new")
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(new, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
                out.write(msgspec.json.format(msgspec.json.encode(self)) + b"\n")
                out.flush()
                os.fsync(out.fileno())
            new.replace(file)
        except OSError as exc:
            raise CalibrationError(f"{file} cannot be written: {exc.strerror}; make room or set memory.folder") from exc

    @classmethod
    def load(cls, file: Path, fingerprint: str) -> Calibration:
        """Reads the calibration of a model.

        Raises:
            CalibrationError: it is unreadable, or was measured on another model.
        """
        try:
            found = msgspec.json.decode(file.read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError) as exc:
            raise CalibrationError(
                f"{file} is not a calibration ({exc}); delete it, or run longwatch calibrate"
            ) from exc
        if found.fingerprint != fingerprint:
            made_for = found.fingerprint[:16]
            raise CalibrationError(
                f"{file} was measured on model {made_for}, not on {fingerprint[:16]}; run longwatch calibrate"
            )
        return found


def own_file(fingerprint: str, memory_folder: Path) -> Path:
    """Where a calibration that is made here is kept. There may be none."""
    return memory_folder / "store.calibration" / f"{fingerprint}.json"


def _old_file(fingerprint: str, memory_folder: Path) -> Path:
    """Where earlier versions kept it: in a folder that may also be a stream's."""
    return memory_folder / "calibration" / f"{fingerprint}.json"


def find_calibration(name: str, fingerprint: str, memory_folder: Path | None = None) -> Calibration | None:
    """A model's calibration: the one that was made here, or else the one beside its weights. None if it has none.

    Args:
        name: as in `model.name`.

    Raises:
        CalibrationError: there is one, but it is unreadable or was measured on other weights.
    """
    files = [(EMBEDDED if name == "embedded" else Path(name)) / FILE]
    if memory_folder is not None:
        files = [own_file(fingerprint, memory_folder), _old_file(fingerprint, memory_folder), *files]
    return next((Calibration.load(file, fingerprint) for file in files if file.is_file()), None)


def load_heads(name: str, fingerprint: str, memory_folder: Path | None = None) -> RetrievalHeads | None:
    """A model's retrieval heads; None if it has none, or none good enough. Raises as `find_calibration`."""
    return heads_of(find_calibration(name, fingerprint, memory_folder))


def heads_of(found: Calibration | None) -> RetrievalHeads | None:
    """A calibration's retrieval heads; None if there is no calibration, or they are not good enough."""
    return None if found is None else found.retrieval_heads
