"""`Ledger`: what a daemon promised over many lives, held against what its store holds after each kill."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import crc32c

from longwatch.clients import Client
from longwatch.daemon.protocol import Event, StatusReply
from longwatch.memory.block import BlockInfo
from longwatch.memory.dayname import day_of
from longwatch.memory.errors import StorageError
from longwatch.memory.folder import day_files
from longwatch.memory.folderlock import take_folder
from longwatch.memory.partition import Partition
from longwatch.memory.record import read_record
from longwatch.memory.settings import MemoryConfig
from longwatch.memory.store import Store

Key = tuple[str, int]  # stream, block id


class Found(NamedTuple):
    """A block that is whole on the disk, a digest of all its values, and what it is packed with."""

    info: BlockInfo
    digest: int
    codec: str


class Announced(NamedTuple):
    """The event that named a block. Event numbers may repeat in another life, so it says which."""

    life: int
    number: int
    start_ns: int


class Erasure(NamedTuple):
    """Blocks that are being erased: all of `must` or none, and perhaps some of `may`.

    Attributes:
        may: they touch the time as well, perhaps; so whether they are there proves nothing.
    """

    must: frozenset[Key]
    may: frozenset[Key] = frozenset()


class Ledger:
    """What was announced, called durable and forgotten, of every stream.

    Args:
        digested: the stream whose blocks' values must stay as they are; others may fade.

    Attributes:
        promised: blocks that are durable, as the daemon says or the disk has shown.
        gone: blocks that were forgotten, or dropped with their day.
        lost, back, twice: what must not be, and why: promised blocks that are missing, gone ones that are there
            again, and ids that have named two blocks.
    """

    def __init__(self, folder: Path, fingerprint: bytes, digested: str) -> None:
        self._folder, self._fingerprint, self._digested = folder, fingerprint, digested
        self.announced: dict[Key, Announced] = {}
        self.promised: set[Key] = set()
        self.found: dict[Key, Found] = {}
        self.gone: set[Key] = set()
        self.lost: dict[Key, str] = {}
        self.back: dict[Key, str] = {}
        self.twice: dict[Key, str] = {}
        self.half_erased = self.cut_short = 0
        self.content_bytes: dict[tuple[str, str], int] = {}  # of each stream's each day
        self._shut: list[tuple[str, int, int]] = []  # times of recordings that must not be seen again
        self._erasures: list[Erasure] = []
        self._pending: set[Key] = set()  # announced in this life, and not durable yet
        self._life = self._number = 0

    def begin_life(self) -> None:
        """A daemon is started."""
        self._life, self._number = self._life + 1, 0
        self._pending.clear()

    def hear(self, client: Client) -> StatusReply:
        """Notes what the daemon calls durable and which blocks it has announced since it was last heard.

        Events are asked for behind the status: they name every block that this has called durable.
        """
        status = client.status()
        while events := client.events_since(self._number).events:
            self._number = events[-1].number
            for event in events:
                if event.kind == "block":
                    self._note(event)
        durable_ids = {stream.name: stream.durable_id for stream in status.streams}
        durable = {(stream, block_id) for stream, block_id in self._pending if block_id <= durable_ids.get(stream, 0)}
        self.promised |= durable
        self._pending -= durable
        return status

    def erase(self, erasure: Erasure) -> None:
        """From now on these blocks may be gone."""
        self._erasures.append(erasure)

    def confirm(self, erasure: Erasure, shut: tuple[str, int, int] | None = None) -> None:
        """The daemon says that they are gone.

        Args:
            shut: (stream, since, until) of a recording whose frames must not be remembered again.
        """
        self._erasures.remove(erasure)
        self.gone |= erasure.must
        self.promised -= erasure.may
        if shut is not None:
            self._shut.append(shut)

    def of(self, stream: str) -> list[BlockInfo]:
        """A stream's blocks as they were last found on the disk, in order."""
        return [block.info for (name, _), block in sorted(self.found.items()) if name == stream]

    def heard_of(self, stream: str) -> int:
        """How many blocks of a stream were announced in this life."""
        return sum(name == stream and told.life == self._life for (name, _), told in self.announced.items())

    def starts(self, stream: str) -> dict[Key, int]:
        """When each block of a stream begins that is promised and not gone."""
        keys = [key for key in self.promised - self.gone if key[0] == stream]
        return {key: self.announced[key].start_ns if key in self.announced else self._start_of(key) for key in keys}

    def _start_of(self, key: Key) -> int:
        return self.found[key].info.start_ns

    def days_of(self, stream: str) -> dict[str, frozenset[Key]]:
        """A stream's blocks day by day, oldest day first."""
        infos = sorted(self.of(stream), key=lambda info: info.start_ns)
        days = dict.fromkeys(day_of(info.start_ns) for info in infos)
        return {day: frozenset((stream, i.block_id) for i in infos if day_of(i.start_ns) == day) for day in days}

    def files(self, stream: str) -> list[Path]:
        """The file of each of a stream's days."""
        return [file for file in day_files(self._folder) if file.parts[-3] == stream]

    def rewriting(self, stream: str) -> bool:
        """Whether a day of a stream is being written anew."""
        return any((file.parent / "fresh").exists() for file in self.files(stream))

    def examine(self) -> None:
        """Reads every value of every day, as the next start will find them, while no daemon runs.

        A start may end what a kill has cut short. So a copy is opened as a start would, and the folder stays as it is.
        """
        os.close(take_folder(self._folder))  # which proves that no daemon is left
        self.cut_short += self.rewriting(self._digested)
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(shutil.copytree(self._folder, Path(folder) / "store"))
            store = Store(MemoryConfig(folder=str(copy)))
            self.content_bytes = {(day.stream, day.day): day.content_bytes for day in store.days()}
            store.close()
            there: dict[Key, Found] = {}
            for file in day_files(copy):
                self._add(file.parts[-3], file.parent, there)
        self._settle(there)
        for key in self.promised - self.gone - there.keys():
            self.lost.setdefault(key, "is not there, or a value of it cannot be read")
        for key in self.gone & there.keys():
            self.back.setdefault(key, "was forgotten, and is there again")
        self.promised |= there.keys()
        self._compare(there)
        self.found = there

    def _add(self, stream: str, day: Path, there: dict[Key, Found]) -> None:
        known = {block_id for name, block_id in self.found if name == stream}
        for block_id, block in read_blocks(day, self._fingerprint, known.__contains__).items():
            if (stream, block_id) in there:
                self.twice.setdefault((stream, block_id), f"names {there[stream, block_id].info}, and {block.info}")
            there[stream, block_id] = block

    def _note(self, event: Event) -> None:
        key, announced = (event.stream, int(event.text)), Announced(self._life, event.number, event.start_ns)
        before = self.announced.setdefault(key, announced)
        self._pending.add(key)
        if before != announced:
            self.twice.setdefault(key, f"named a block of {before.start_ns}, and names one of {event.start_ns}")
        elif key in self.promised and key in self.found:
            start_ns = self.found[key].info.start_ns
            self.twice.setdefault(key, f"names a block of {start_ns} on the disk, and one of {event.start_ns}")
        for stream, since_ns, until_ns in self._shut:
            if stream == event.stream and since_ns <= event.start_ns < until_ns:
                self.back.setdefault(key, f"shows {event.start_ns}, which was forgotten")

    def _settle(self, there: dict[Key, Found]) -> None:
        """An erasure that a kill has cut short was carried out or was not."""
        for erasure in self._erasures:
            durable = erasure.must & self.promised
            missing = durable - there.keys()
            self.half_erased += 0 < len(missing) < len(durable)
            if missing:
                self.gone |= erasure.must - there.keys()
                self.promised -= erasure.may - there.keys()
        self._erasures.clear()

    def _compare(self, there: dict[Key, Found]) -> None:
        for key, now in there.items():
            announced, before = self.announced.get(key), self.found.get(key, now)
            if announced is not None and announced.start_ns != now.info.start_ns:
                self.twice.setdefault(key, f"named a block of {announced.start_ns}, and names {now.info}")
            if key[0] == self._digested and key in self.found and now != before:
                self.lost.setdefault(key, f"is another: {now}, and was {before}")


def day_ago(days: int) -> date:
    """The UTC day so many days ago."""
    return datetime.now(UTC).date() - timedelta(days)


def read_blocks(day: Path, fingerprint: bytes, known: Callable[[int], bool] = lambda _: False) -> dict[int, Found]:
    """A day's blocks, as far as every value of theirs can be read.

    Args:
        known: whether a block has been unpacked before, and need not be again.
    """
    partition, found = Partition(day, MemoryConfig().map_bytes), {}
    blocks = partition.blocks
    signatures = {info.block_id: vectors for info, vectors in blocks.signatures(lambda block_id, exc: None)}
    scales = blocks.scales()
    for block_id in blocks.ids():
        try:
            record, picture, info = (read(block_id) for read in (blocks.record, blocks.picture, blocks.info))
            opened = read_record(record, fingerprint, f"block {block_id}", scales.get)
            if not known(block_id):
                opened.unpack()
            values = (record, picture, signatures[block_id].numpy().tobytes())
        except (StorageError, KeyError):
            continue
        digest = 0
        for value in values:
            digest = crc32c.crc32c(value, digest)
        found[block_id] = Found(info, digest, opened.codec.name)
    partition.file.close()
    return found
