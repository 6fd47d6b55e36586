"""`Partition`: a day of one stream on disk.

Its blocks lie in one LMDB file: see `rows.py` for what is in it, `DataFile` for how it is opened. Files never shrink,
and keep what was deleted in their free pages; so a day is dropped whole, or rewritten without what is to be forgotten.

An index file may lie beside the data. It is made from the data, elsewhere: nothing here knows what signatures mean.
Here it is only put into its place, and removed before anything that it was made from.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import lmdb

from .datafile import DataFile
from .errors import BlockNotFound, BrokenFile, CorruptBlock, StorageError, StoreUnreadable, StoreUnwritable
from .folder import is_there, put_away, sync_folder
from .freshfile import delete_fresh, fresh_folder, put_file
from .pages import check_pages
from .rewrite import Pack, copy_rows, keep_record
from .rows import TABLES, Entry, Tables, put_ends, put_entries, read_id
from .scales import Scales
from .storedblocks import StoredBlocks


class PartitionVersion(NamedTuple):
    """Tells one state of a partition from every other: each commit has a transaction number of its own."""

    transaction: int
    first_id: int
    last_id: int
    blocks: int


class Partition:
    """A day of one stream. Opens its file at the first use; any thread may read, one writes at a time.

    Args:
        map_bytes: the size that the file's map begins with; it doubles whenever the day is full.
        on_open: called with the file each time that it is opened.

    Attributes:
        file: where the blocks lie.
        blocks: what can be read of them.
        version: as the last commit left it.
        content_bytes: what the pages in use take, as the last commit left them.

    Raises:
        BrokenFile: its file is not what LMDB left there.
        StoreUnreadable: its file cannot be read now.
        UnknownFormat: its file is of another version of LMDB.
    """

    def __init__(self, folder: Path, map_bytes: int, on_open: Callable[[DataFile], None] = lambda file: None) -> None:
        self.folder = folder
        self.file = DataFile(folder, map_bytes, on_open)
        self.blocks = StoredBlocks(self.file)
        self._writing = threading.RLock()  # over what the files hold; taken before the file's own lock
        self._last_disk_bytes = 0
        self.version, self.content_bytes = PartitionVersion(0, 0, 0, 0), 0
        delete_fresh(folder)
        if is_there(self.file.path):
            self._check()

    @property
    def first_id(self) -> int:
        """The lowest id that it holds, 0 where it is empty."""
        return self.version.first_id

    @property
    def last_id(self) -> int:
        """The highest id that it holds, 0 where it is empty."""
        return self.version.last_id

    @property
    def index_file(self) -> Path:
        """Where its index file lies, if it has one."""
        return self.folder / "index"

    @property
    def disk_bytes(self) -> int:
        """What the files really take on the disk; they may look longer. The last known size where they cannot be
        looked at."""
        try:
            with os.scandir(self.folder) as files:
                self._last_disk_bytes = sum(file.stat().st_blocks * 512 for file in files if file.is_file())
        except FileNotFoundError:  # the day, or a file of it, is being removed
            return 0 if self.file.is_gone else self._last_disk_bytes
        except OSError:  # too many open files, for instance: a statistic is no reason to end anything
            pass
        return self._last_disk_bytes

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps everybody else from writing to the day until the end of the context."""
        with self._writing:
            yield

    def write(self, entries: Sequence[Entry], ends: Mapping[int, int]) -> None:
        """Commits blocks and new end times in one transaction; on return they are durable.

        Raises:
            StoreUnwritable: the disk is full or the folder cannot be written; nothing of the group was kept.
        """

        def put(txn: lmdb.Transaction, tables: Tables) -> None:
            put_entries(txn, tables, entries)
            put_ends(txn, tables, ends)

        with self._writing:
            self.file.write(put)
            self.version, self.content_bytes = _read_version(self.file)

    def hide(self, block_ids: Collection[int]) -> None:
        """From now on these are not found; their bytes stay until `forget`. The index file holds them too, so it goes.

        Raises:
            StoreUnwritable: the index file cannot be removed.
        """
        self.blocks.hide(block_ids)  # first, and without waiting for a rewrite that is under way
        with self._writing:  # else an index file that is being written would come back
            try:
                self.index_file.unlink(missing_ok=True)
            except OSError as exc:
                raise StoreUnwritable(f"{self.index_file} cannot be removed: {exc.strerror}") from exc

    def forget(self, block_ids: Collection[int]) -> None:
        """Removes blocks, and every byte of theirs from the files; a crash leaves all of them or none.

        Raises:
            StoreUnwritable: there is no room for the new file; nothing was removed.
        """
        self._rewrite(dict.fromkeys(TABLES, frozenset(block_ids)))

    def repair(self, damage: Mapping[int, Mapping[str, str]]) -> None:
        """Removes what is damaged: a picture alone, or the block with everything that belongs to it.

        Args:
            damage: as `find_damage` gives it.

        Raises:
            StoreUnwritable: there is no room for the new file; nothing was removed.
        """
        whole = frozenset(block_id for block_id, wrong in damage.items() if wrong.keys() != {"pictures"})
        self._rewrite({**dict.fromkeys(TABLES, whole), "pictures": frozenset(damage)})

    def repack(self, pack: Pack, scales: Scales) -> None:
        """Gives every block another record, or the one it has. A crash leaves all old records or all new ones.

        Args:
            pack: an error that it raises ends this, and nothing is changed.
            scales: kept with the day, for the new records.

        Raises:
            StoreUnwritable: there is no room for the new file; nothing was changed.
        """
        self._rewrite(dict.fromkeys(TABLES, frozenset()), pack, [scales])

    def keep_index(self, version: PartitionVersion, content: Iterable[bytes]) -> bool:
        """Puts an index file into its place, whole or not at all. Returns whether it did: not if the day has changed.

        Args:
            version: the state of the day that it was made from.

        Raises:
            StoreUnwritable: there is no room for it.
        """
        with self._writing:
            if self.file.is_gone or self.blocks.hidden or version != self.version:
                return False
            try:
                put_file(self.index_file, content)
            except OSError as exc:
                raise StoreUnwritable(f"{self.index_file} cannot be written: {exc}") from exc
        return True

    def put_away(self) -> None:
        """Takes the day out of the store; nothing is found in it any more.

        Raises:
            StoreUnwritable: it cannot be; the day is as it was.
        """
        with self._writing, self.file.kept_closed():
            try:
                put_away(self.folder)
            except OSError as exc:
                raise StoreUnwritable(f"{self.folder} cannot be removed: {exc.strerror}") from exc
            self.file.mark_gone()

    def _check(self) -> None:
        check_pages(self.file.path)
        try:
            self.version, self.content_bytes = _read_version(self.file)
        except CorruptBlock as exc:
            raise BrokenFile(str(exc)) from exc
        except StorageError as exc:
            raise StoreUnreadable(f"{exc}; it is left as it is; make it readable to this user and start again") from exc
        self.file.close()

    def _rewrite(
        self, gone: Mapping[str, frozenset[int]], pack: Pack = keep_record, new_scales: Sequence[Scales] = ()
    ) -> None:
        """Puts a new file in the place of the old one, without some rows of each table and without all hidden ones.

        Reads go on until the very end, where they wait for the file to be exchanged.
        """
        with self._writing:
            if self.file.is_gone:
                raise BlockNotFound(f"{self.folder} was forgotten")
            hidden = self.blocks.hidden  # those that are hidden from now on are left to the next rewrite
            try:
                with fresh_folder(self.folder) as fresh:
                    gone = {name: ids | hidden for name, ids in gone.items()}
                    copy_rows(self.file, fresh, gone, pack, [*self.blocks.scales().values(), *new_scales])
                    # The index file goes before the old data do, and that is made durable: it holds vectors of what is
                    # to be gone, and after a crash nobody would know that. It can be made again from the data.
                    self.index_file.unlink(missing_ok=True)
                    sync_folder(self.folder)
                    self._exchange(fresh, hidden)
            except (lmdb.Error, OSError) as exc:
                raise StoreUnwritable(f"{self.folder} cannot be rewritten: {exc}") from exc

    def _exchange(self, fresh: Path, hidden: frozenset[int]) -> None:
        """The new file takes the old one's place in one step, while nobody has either open."""
        with self.file.kept_closed():
            os.replace(fresh / self.file.path.name, self.file.path)
            sync_folder(self.folder)
            self.blocks.unhide(hidden)
            self.version, self.content_bytes = _read_version(self.file)


def _read_version(file: DataFile) -> tuple[PartitionVersion, int]:
    """The state of a day, and how many bytes its pages in use take."""
    with file.transaction() as (txn, tables), txn.cursor(db=tables["spans"]) as cursor:
        first = read_id(cursor.key()) if cursor.first() else 0
        last = read_id(cursor.key()) if cursor.last() else 0
        sizes = [txn.stat(table) for table in tables.values()]
        pages = sum(s["psize"] * (s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"]) for s in sizes)
        return PartitionVersion(txn.id(), first, last, txn.stat(tables["spans"])["entries"]), pages
