"""`StoredBlocks`: the blocks of a day as its file has them. Those that are to be forgotten are hidden at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator, Mapping

from torch import Tensor

from .block import BlockInfo
from .book import Erasure
from .datafile import DataFile
from .dayname import unread_span
from .errors import BlockNotFound, CorruptBlock, StorageError
from .rows import SCALES, read_picture, read_scales, read_signature, read_span
from .scales import Scales


class StoredBlocks:
    """Any thread may read. Nothing of a hidden block is found, though its bytes still lie in the file.

    Every reading method raises `CorruptBlock` where a checksum does not hold, `StorageError` where the file cannot be
    read, and `BlockNotFound` where the day was taken out of the store.
    """

    def __init__(self, file: DataFile) -> None:
        self._file = file
        self._hidden: frozenset[int] = frozenset()
        self._hiding = threading.Lock()  # over changing it: one may be erased just while others are to be hidden

    @property
    def hidden(self) -> frozenset[int]:
        """Ids of the hidden blocks."""
        return self._hidden

    def hide(self, block_ids: Collection[int]) -> None:
        """From now on these are not found."""
        with self._hiding:
            self._hidden |= frozenset(block_ids)

    def unhide(self, block_ids: Collection[int]) -> None:
        """These are in the file no more, so nothing has to hide them."""
        with self._hiding:
            self._hidden -= frozenset(block_ids)

    def record(self, block_id: int) -> bytes:
        """The sealed record of a block, not checked yet.

        Raises:
            BlockNotFound: this day does not hold it.
        """
        return self._get("blocks", block_id)

    def picture(self, block_id: int) -> bytes:
        """The JPEG of a block, empty where it has none."""
        try:
            value = self._get("pictures", block_id)
        except BlockNotFound:
            return b""
        return read_picture(block_id, value)

    def info(self, block_id: int) -> BlockInfo:
        """The span of a block, with the newest end that was written.

        Raises:
            BlockNotFound: this day does not hold it.
        """
        return read_span(block_id, self._get("spans", block_id))

    def ids(self) -> list[int]:
        """Every block's id, in order. The values are not checked."""
        return [block_id for block_id, _ in self._file.rows("spans") if block_id not in self._hidden]

    def all_ids(self) -> set[int]:
        """Every id that stands in any table, hidden or not. No value is read."""
        return self._file.ids()

    def infos(self) -> Iterator[BlockInfo]:
        """Every block's span, in order of the ids. Others may write between two of them."""
        for block_id, value in self._file.rows("spans"):
            if block_id not in self._hidden:
                yield read_span(block_id, value)

    def signatures(self, on_damage: Callable[[int, StorageError], None]) -> Iterator[tuple[BlockInfo, Tensor]]:
        """Every block with its signature `[N, E]`, in order of the ids.

        Args:
            on_damage: called with the id of a block that cannot be read, and why; the block is left out.
        """
        for block_id, value in self._file.rows("signatures"):
            if block_id in self._hidden:
                continue
            try:
                signature, info = read_signature(block_id, value), self.info(block_id)
            except (CorruptBlock, BlockNotFound) as exc:
                if self._holds("signatures", block_id):  # else it was forgotten since it was read
                    on_damage(block_id, exc)
                continue
            yield info, signature

    def scales(self) -> dict[bytes, Scales]:
        """Everything that this day's blocks were quantised against and that can be read, by digest."""
        return {scales.digest: scales for scales in self.scales_copies() if isinstance(scales, Scales)}

    def scales_copies(self) -> Iterator[Scales | StorageError]:
        """Every copy of every scales, or why it cannot be read."""
        with self._file.transaction() as (txn, tables), txn.cursor(db=tables[SCALES]) as cursor:
            values = [bytes(value) for _, value in cursor]
        for value in values:
            try:
                yield read_scales(value)
            except CorruptBlock as exc:
                yield exc

    def touched(self, erasure: Erasure, ends: Mapping[int, int]) -> dict[int, int]:
        """The ids of the blocks that an erasure means, hidden ones too, and when each ends.

        If a span cannot be read, the block's time is unknown. It then counts for every time that a block of this day
        may touch, and its end is 0.

        Args:
            ends: newer ends than those on disk.
        """
        found: dict[int, int] = {}
        # The ids are read before the spans. A block that is committed in between is then in the spans alone, and is
        # judged by its span. The other way round it would be in the ids alone, look like one whose span cannot be
        # read, and be erased although nobody meant it.
        unread = self.all_ids()
        for block_id, value in self._file.rows("spans"):
            with contextlib.suppress(CorruptBlock):
                info = read_span(block_id, value)
                unread.discard(block_id)
                end_ns = max(info.end_ns, ends.get(block_id, 0))
                if erasure.covers(block_id, info.start_ns, end_ns):
                    found[block_id] = end_ns
        anywhere = unread_span(self._file.folder.name)
        found.update({block_id: 0 for block_id in unread if erasure.covers(block_id, *anywhere)})
        return found

    def _get(self, table: str, block_id: int) -> bytes:
        value = None if block_id in self._hidden else self._file.get(table, block_id)
        if value is None:
            raise BlockNotFound(f"block {block_id} is not in {self._file.folder}")
        return value

    def _holds(self, table: str, block_id: int) -> bool:
        try:
            self._get(table, block_id)
        except BlockNotFound:
            return False
        return True
