"""`PastDays`: fills a stream's index from its memory, and keeps the files that make this quick."""

from __future__ import annotations

import contextlib
import threading

from ...memory.errors import StorageError
from ...memory.partition import Partition, PartitionVersion
from ...memory.tiers import Tiers
from ...retrieval.errors import UnfitIndexFile
from ...retrieval.index.day import ClosedDay, IndexDay
from ...retrieval.index.dayfile import pack_day, read_day
from ...retrieval.index.index import SignatureIndex
from ..log import get_logger
from .signatures import Signatures


class PastDays:
    """Each day but the one that is written has an index file beside its data. It is made again if it does not fit them.

    Belongs to the thread that the index belongs to. The file of a day that has just ended is made on another thread.
    """

    def __init__(self, stream: str, tiers: Tiers, index: SignatureIndex, signatures: Signatures) -> None:
        self._stream, self._tiers, self._index, self._signatures = stream, tiers, index, signatures
        self._looked_at: dict[Partition, PartitionVersion] = {}  # for these there is a file, or can be none
        self._maker: threading.Thread | None = None
        self._made: ClosedDay | None = None
        self._log = get_logger("index").bind(stream=stream)

    def restore(self) -> None:
        """Fills the index: past days from their files, without their vectors, and the newest from its data."""
        past, written = self._days()
        for partition in past:
            self._looked_at[partition] = partition.version
            day = self._from_file(partition)
            if day.count:
                self._index.take(day)
        for info, signature in self._signatures.read(written):
            self._index.add(info, self._index.cut(signature))

    def update(self) -> None:
        """Starts to make a file for a day that has ended or changed, and takes the last one made into use."""
        if self._maker is not None and self._maker.is_alive():
            return
        made, self._made = self._made, None
        if made is not None:
            self._index.replace(made)
        past, _ = self._days()
        self._looked_at = {day: version for day, version in self._looked_at.items() if day in past}
        for partition in past:
            if self._looked_at.get(partition) != partition.version:
                self._looked_at[partition] = partition.version
                self._maker = threading.Thread(
                    target=self._make_on_thread, args=(partition,), name="index", daemon=True
                )
                self._maker.start()
                return

    def stop(self) -> None:
        """Waits for a file that is being made."""
        if self._maker is not None:
            self._maker.join()

    def _days(self) -> tuple[list[Partition], list[Partition]]:
        """The days that are over, and the one that is written now: it has the newest block, whatever the clock says."""
        days = self._tiers.store.partitions(self._stream)
        newest = max((day.last_id for day in days), default=0)
        return [day for day in days if day.last_id < newest], [day for day in days if day.last_id == newest]

    def _from_file(self, partition: Partition) -> ClosedDay | IndexDay:
        """The day from its file, or from its data if the file does not fit."""
        if partition.index_file.exists():
            try:
                return self._read(partition)
            except UnfitIndexFile as exc:
                self._log.warning("index file made again", error=str(exc))
        day = self._make(partition)
        with contextlib.suppress(UnfitIndexFile):  # it has none
            return self._read(partition)
        return day

    def _read(self, partition: Partition) -> ClosedDay:
        """The day in its file.

        Raises:
            UnfitIndexFile: it is damaged, or belongs to another state of the data. Damaged vectors are found only when
                they are opened; then the day is made from its data.
        """
        day = read_day(partition.index_file, partition.version, self._index.shapes)

        def open_it() -> IndexDay:
            try:
                return day.open()
            except UnfitIndexFile as exc:
                self._log.warning("index file made again", error=str(exc))
                return self._make(partition)

        return ClosedDay(day.blocks, open_it)

    def _make(self, partition: Partition) -> IndexDay:
        """A day from its data, and a new file for it if there is room.

        A day with a damaged block gets no file, so that every start finds the damage and says so.
        """
        version, day = partition.version, IndexDay(self._index.shapes)
        for info, signature in self._signatures.read([partition]):
            day.add(info, self._index.cut(signature))
        day = day.sealed()
        try:
            if 0 < day.count == version.blocks and partition.keep_index(version, pack_day(day, version)):
                self._log.info("index file made", day=partition.folder.name, blocks=day.count)
        except StorageError as exc:
            self._log.warning("no index file", day=partition.folder.name, error=str(exc))
        return day

    def _make_on_thread(self, partition: Partition) -> None:
        try:
            self._make(partition)
            self._made = self._read(partition)
        except (UnfitIndexFile, StorageError) as exc:  # the day was forgotten or changed meanwhile, or has no file
            self._log.info("no index file yet", day=partition.folder.name, error=str(exc))
