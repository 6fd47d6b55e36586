"""Examines a store value by value, and repairs it.

Each day is read in a process of its own, `python -m longwatch.memory.examine`: LMDB maps its files, and a broken
one may take its reader down.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from .errors import FingerprintMismatch, StorageError
from .folder import set_aside
from .partition import Partition
from .record import read_record

_SHOWN = 3


class Day(NamedTuple):
    """What was found in one stream's day.

    Attributes:
        blocks: how many are whole.
        damaged: block ids, and what is wrong with each.
        foreign: blocks that another model made.
        broken: why the file cannot be read at all, or empty.
        repaired: what was done about it, or empty.
    """

    stream: str
    day: str
    blocks: int
    damaged: dict[int, str]
    foreign: int = 0
    broken: str = ""
    repaired: str = ""

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong, or nothing is any more."""
        return bool(self.repaired) or not (self.damaged or self.foreign or self.broken)

    def __str__(self) -> str:
        """One sentence."""
        found = f"the file cannot be read ({self.broken})" if self.broken else f"{self.blocks} blocks are whole"
        if self.damaged:
            some = "; ".join(f"block {i}: {why}" for i, why in list(self.damaged.items())[:_SHOWN])
            more = f" and {len(self.damaged) - _SHOWN} more" if len(self.damaged) > _SHOWN else ""
            found += f", {len(self.damaged)} damaged ({some}{more})"
        if self.foreign:
            found += f", {self.foreign} made by another model: name it in model.name, or take another memory.folder"
        return f"{self.stream} {self.day}: {found}{f'; {self.repaired}' if self.repaired else ''}"


def examine(file: Path, fingerprint: str, map_bytes: int, *, repair: bool) -> Day:
    """Examines the file of a day in a process of its own.

    Args:
        fingerprint: hex digest of the model whose blocks belong here.
        map_bytes: as in `MemoryConfig`.
        repair: remove what is damaged; a file that cannot be read is set aside as `data.mdb.broken-TIME`.
    """
    stream, day = file.parts[-3:-1]
    command = [sys.executable, "-P", "-m", "longwatch.memory.examine", str(file), fingerprint, str(map_bytes)]
    done = subprocess.run([*command, *(["--repair"] if repair else [])], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        found = json.loads(done.stdout)
        damaged = {int(block_id): why for block_id, why in found["damaged"].items()}
        return Day(stream, day, **{**found, "damaged": damaged})
    if done.returncode < 0:
        broken = f"reading it ended in {signal.Signals(-done.returncode).name}"
    else:
        broken = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no reason given"
    if not repair:
        return Day(stream, day, 0, {}, broken=broken)
    return Day(stream, day, 0, {}, broken=broken, repaired=f"set aside as {set_aside(file).name}")


def _examine_here(file: Path, fingerprint: str, map_bytes: int, repair: bool) -> dict[str, Any]:
    partition = Partition(file.parent, map_bytes)
    foreign, scales = 0, partition.scales()

    def check(value: bytes) -> None:
        nonlocal foreign
        try:
            read_record(value, bytes.fromhex(fingerprint)[:16], "it", scales.get).unpack()
        except FingerprintMismatch:
            foreign += 1

    damage = partition.damage(check)
    whole = sum(block_id not in damage for block_id in partition.ids())
    repaired = ""
    if repair and damage:
        partition.repair(damage)
        repaired = "what was damaged is removed"
    said = {i: ", ".join(f"{name}: {why}" for name, why in wrong.items()) for i, wrong in sorted(damage.items())}
    return {"blocks": whole - foreign, "damaged": said, "foreign": foreign, "repaired": repaired}


def main() -> None:
    """Prints what was found as JSON; exit code 1 where the file cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("fingerprint")
    parser.add_argument("map_bytes", type=int)
    parser.add_argument("--repair", action="store_true")
    options = parser.parse_args()
    try:
        print(json.dumps(_examine_here(options.file, options.fingerprint, options.map_bytes, options.repair)))
    except StorageError as exc:
        print(exc, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
