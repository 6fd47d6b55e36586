"""Examines a store value by value, and repairs it.

Each day is read in a process of its own, `python -m longwatch.memory.examine`: LMDB maps its files, and reading a
broken one may end the process.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .errors import BrokenFile, CorruptBlock, FingerprintMismatch, StorageError
from .folder import set_aside
from .partition import Partition
from .record import read_record
from .rows import TABLES, check_value
from .scales import Scales

_SHOWN = 3
_BROKEN, _UNREAD = 3, 4
_ITS = {"blocks": "its record", "spans": "its span", "signatures": "its signature", "pictures": "its picture"}
_BY_THE_FILE = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT)  # and not, say, by the system for want of memory


class ExaminedDay(NamedTuple):
    """What was found in one stream's day.

    Attributes:
        blocks: how many are whole.
        damaged: block ids, and what is wrong with each.
        foreign: blocks that another model made.
        ids: the first and the last of each run of ids that it holds.
        broken: why the file is not what LMDB left there, or empty.
        unread: why it could not be examined, or empty. That proves nothing about what it holds.
        repaired: what was done about it, or empty.
    """

    stream: str
    day: str
    blocks: int
    damaged: dict[int, str]
    foreign: int = 0
    ids: tuple[tuple[int, int], ...] = ()
    broken: str = ""
    unread: str = ""
    repaired: str = ""

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong, or everything wrong was repaired."""
        return bool(self.repaired) or not (self.damaged or self.foreign or self.broken or self.unread)

    def __str__(self) -> str:
        """One sentence."""
        found = f"the file cannot be read ({self.broken})" if self.broken else f"{self.blocks} blocks are whole"
        found = f"not examined, and left as it is ({self.unread})" if self.unread else found
        if self.damaged:
            some = "; ".join(f"block {i}: {why}" for i, why in list(self.damaged.items())[:_SHOWN])
            more = f" and {len(self.damaged) - _SHOWN} more" if len(self.damaged) > _SHOWN else ""
            found += f", {len(self.damaged)} damaged ({some}{more})"
        if self.foreign:
            found += f", {self.foreign} made by another model: name it in model.name, or take another memory.folder"
        return f"{self.stream} {self.day}: {found}{f'; {self.repaired}' if self.repaired else ''}"


def examine(file: Path, fingerprint: str, map_bytes: int, *, repair: bool) -> ExaminedDay:
    """Examines the file of a day in a process of its own.

    Args:
        fingerprint: hex digest of the model whose blocks belong here.
        map_bytes: as in `MemoryConfig`.
        repair: remove what is damaged; a file that is proven to be broken is set aside as `data.mdb.broken-TIME`.
    """
    stream, day = file.parts[-3:-1]
    command = [sys.executable, "-P", "-m", "longwatch.memory.examine", str(file), fingerprint, str(map_bytes)]
    done = subprocess.run([*command, *(["--repair"] if repair else [])], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        found = json.loads(done.stdout)
        damaged = {int(block_id): why for block_id, why in found["damaged"].items()}
        ids = tuple((first, last) for first, last in found["ids"])
        return ExaminedDay(stream, day, **{**found, "damaged": damaged, "ids": ids})
    said = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no reason given"
    broken = said if done.returncode == _BROKEN else ""
    if done.returncode < 0:
        said = f"reading it ended in {signal.Signals(-done.returncode).name}"
        broken = said if -done.returncode in _BY_THE_FILE else ""
    if not broken:
        return ExaminedDay(stream, day, 0, {}, unread=said)
    if not repair:
        return ExaminedDay(stream, day, 0, {}, broken=broken)
    return ExaminedDay(stream, day, 0, {}, broken=broken, repaired=f"set aside as {set_aside(file).name}")


def ids_twice(days: Sequence[ExaminedDay]) -> list[str]:
    """A sentence for each pair of a stream's days that hold the same ids."""
    same: Counter[tuple[str, str, str]] = Counter()
    reach, reaches, of = -1, "", ""
    for stream, first, last, day in sorted((each.stream, *run, each.day) for each in days for run in each.ids):
        if stream != of:
            reach, of = -1, stream
        if first <= reach:
            same[stream, min(reaches, day), max(reaches, day)] += min(last, reach) - first + 1
        if last > reach:
            reach, reaches = last, day
    return [
        f"{stream}: {one} and {other} both hold {count} ids, so that blocks of one are taken for the other's; "
        f"forget one of these days (longwatch forget --stream {stream} --from DAY --to DAY)"
        for (stream, one, other), count in same.items()
    ]


def find_damage(partition: Partition, check_record: Callable[[bytes], object]) -> dict[int, dict[str, str]]:
    """Reads every value of a day. Returns for each damaged block what is wrong with which of its values.

    Damage of the scales is that of block 0, which no day has.

    Args:
        check_record: raises a `StorageError` where a record is not as it should be.
    """
    found: dict[int, dict[str, str]] = defaultdict(dict)
    there: dict[str, set[int]] = {name: set() for name in TABLES}
    for name in TABLES:
        for block_id, value in partition.file.rows(name):
            there[name].add(block_id)
            try:
                if name == "blocks":
                    check_record(value)
                else:
                    check_value(name, block_id, value, _ITS[name])
            except StorageError as exc:
                found[block_id][name] = str(exc)
    for name in ("blocks", "spans", "signatures"):
        for block_id in set().union(*there.values()) - there[name]:
            found[block_id][name] = f"{_ITS[name]} is missing"
    for error in (scales for scales in partition.blocks.scales_copies() if not isinstance(scales, Scales)):
        found[0]["scales"] = f"one of two copies of the scales: {error}"
    return found


def _examine_here(file: Path, fingerprint: str, map_bytes: int, repair: bool) -> dict[str, Any]:
    partition = Partition(file.parent, map_bytes)
    foreign, scales = 0, partition.blocks.scales()

    def check(value: bytes) -> None:
        nonlocal foreign
        try:
            read_record(value, bytes.fromhex(fingerprint)[:16], _ITS["blocks"], scales.get).unpack()
        except FingerprintMismatch:
            foreign += 1

    damage = find_damage(partition, check)
    ids = partition.blocks.ids()
    whole = sum(block_id not in damage for block_id in ids)
    repaired = ""
    if repair and damage:
        partition.repair(damage)
        repaired = "what was damaged is removed"
    said = {block_id: ", ".join(wrong.values()) for block_id, wrong in sorted(damage.items())}
    return {
        "blocks": whole - foreign,
        "damaged": said,
        "foreign": foreign,
        "ids": _runs(ids),
        "repaired": repaired,
    }


def _runs(ids: list[int]) -> list[tuple[int, int]]:
    """Rising ids as the first and the last of each run."""
    begins = [block_id for before, block_id in itertools.pairwise([-1, *ids]) if block_id != before + 1]
    ends = [block_id for block_id, after in itertools.pairwise([*ids, -1]) if after != block_id + 1]
    return list(zip(begins, ends, strict=True))


def main() -> None:
    """Prints the findings as JSON. Exit code 3: the file is proven to be broken; 4: it cannot be read."""
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
        sys.exit(_BROKEN if isinstance(exc, BrokenFile | CorruptBlock) else _UNREAD)


if __name__ == "__main__":
    main()
