"""Writes a day's rows into a new file: without some of them, or with other records.

LMDB never clears a page that it frees, so deleted values can still be read from the file. To get rid of them for good,
the other rows are written into a new file, which then takes the old one's place:

    data.mdb  ── every row that stays ──▶  fresh/data.mdb      a kill here leaves the old day, and `fresh/` for the next
    index     ── removed                                       start to delete
    data.mdb  ◀────── renamed ──────────   fresh/data.mdb      from here on it is the new day
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import lmdb

from .datafile import DataFile, double_map, open_environment
from .rows import SCALES, TABLES, pack_span, put_behind, put_scales, read_span
from .scales import Scales

Pack = Callable[[int, bytes], tuple[bytes, int | None]]
"""A block's id and record to its new record, and how many tokens that has; None where it has as many as before."""


def keep_record(block_id: int, record: bytes) -> tuple[bytes, int | None]:
    """The `Pack` that changes nothing."""
    return record, None


def copy_rows(
    old: DataFile, new_folder: Path, gone: Mapping[str, Collection[int]], pack: Pack, scales: Iterable[Scales]
) -> None:
    """Writes a day's rows into a new file. On return they are durable. The old file may be read all the time.

    Args:
        gone: for each table, the ids of the rows that are left out.
        pack: what becomes of the records.
        scales: all that the new file gets.

    Raises:
        lmdb.Error: the new file cannot be written.
        StorageError: the old file cannot be read.
    """
    values = _NewValues(pack)
    with open_environment(new_folder, old.map_bytes) as env:
        for name in TABLES:
            table = env.open_db(name.encode())
            for batch in old.batches(name):
                rows = [(i, values.of(name, i, value)) for i, value in batch if i not in gone[name]]
                _fill(env, functools.partial(put_behind, table=table, rows=rows))
        table = env.open_db(SCALES.encode())
        for each in scales:
            _fill(env, functools.partial(put_scales, table=table, scales=each))


class _NewValues:
    """What becomes of the values that stay. Blocks come before spans: a span says how many tokens its block has."""

    def __init__(self, pack: Pack) -> None:
        self._pack = pack
        self._tokens: dict[int, int] = {}  # of blocks that have another number of them now

    def of(self, table: str, block_id: int, value: bytes) -> bytes:
        if table == "blocks":
            value, tokens = self._pack(block_id, value)
            if tokens is not None:
                self._tokens[block_id] = tokens
        elif table == "spans" and block_id in self._tokens:
            value = pack_span(read_span(block_id, value)._replace(tokens=self._tokens[block_id]))
        return value


def _fill(env: lmdb.Environment, put: Callable[[lmdb.Transaction], None]) -> None:
    """Puts rows in one transaction. The map grows until they fit."""
    while True:
        try:
            with env.begin(write=True) as txn:
                put(txn)
            return
        except lmdb.MapFullError:
            double_map(env)
