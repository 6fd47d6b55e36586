"""`check_pages`: whether every page of an LMDB file is what its place in the file says.

LMDB maps its files and trusts them: a page that is not what it should be brings back another value, or takes the
process down. So a file is read here before LMDB opens it: every tree, the list of free pages, and that each page has
one owner. What lies in a large value's own pages is left to the value's checksum, so this costs little of the disk.
Knows the files of LMDB 0.9 (format 1, 64 bits), as `mdb.c` lays them out.
"""

from __future__ import annotations

import itertools
import os
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .errors import BrokenFile, StoreUnreadable, UnknownFormat

_PAGE = struct.Struct("=QHHHH")  # number, padding, flags, end of the offsets, begin of the nodes
_NODE = struct.Struct("=HHHH")  # size of the data in two halves, flags, size of the key; in a branch: child, key
_TREE = struct.Struct("=IHHQQQQQ")
_META = struct.Struct("=IIQQ48s48sQQ")
_NUMBER = struct.Struct("=Q")
_MAGIC, _FORMAT = 0xBEEFC0DE, 1
_BRANCH, _LEAF, _META_PAGE = 1, 2, 8
_ELSEWHERE, _IS_TREE = 1, 2
_KEYS_ARE_NUMBERS = 8
_NUMBERS_REVERSED = _KEYS_ARE_NUMBERS if sys.byteorder == "little" else 0
_NO_PAGE = 2**64 - 1
_LOWEST, _HIGHEST = b"", b"\xff" * 512  # keys have at most 511 bytes


class _Tree(NamedTuple):
    """Where a tree begins, and what it says of itself."""

    page_bytes: int  # said by the free pages' tree alone
    flags: int
    depth: int
    branches: int
    leaves: int
    others: int  # pages of values that lie elsewhere
    entries: int
    root: int


class _State(NamedTuple):
    """One of the two that a file holds: as the last commit left it, or the one before."""

    free: _Tree
    tables: _Tree
    last_page: int
    commit: int


class _Node(NamedTuple):
    """An entry of a page. `page` is a branch's child, or where a value begins that lies elsewhere."""

    key: bytes
    flags: int
    size: int
    data: bytes
    page: int


def check_pages(file: Path) -> None:
    """Reads a file that nobody has open.

    Raises:
        BrokenFile: it is no LMDB file, or a page is not what it should be.
        UnknownFormat: it is an LMDB file of another version, or of a machine of the other byte order.
        StoreUnreadable: it cannot be read now, which says nothing of what it holds.
    """
    try:
        with file.open("rb", buffering=0) as opened:
            if os.fstat(opened.fileno()).st_size:  # an empty one is made when it is opened
                _check(opened.fileno(), file)
    except OSError as exc:
        raise StoreUnreadable(
            f"{file} cannot be read: {exc.strerror}; it is left as it is; make it readable to this user and start again"
        ) from exc


def _check(file: int, name: Path) -> None:
    _refuse_other_formats(file, name)
    first = _read_state(file, 0, 0)
    states = first, _read_state(file, 1, first.free.page_bytes)
    older, newer = sorted(states, key=lambda state: state.commit)
    _require(older.free.page_bytes == newer.free.page_bytes, "its two states differ in the size of a page")
    if newer.commit:
        _require(newer.commit == older.commit + 1, "its two states are not of commits in a row")
        _require(states[newer.commit % 2] is newer, "its two states are in each other's place")
    _Pages(file, older).take_free()  # they name the commit that freed them: so the newer cannot pass for the older
    _Pages(file, newer).check()


def _refuse_other_formats(file: int, name: Path) -> None:
    begin = os.pread(file, _PAGE.size + _META.size, 0)
    if len(begin) < _PAGE.size + _META.size:
        return
    magic, version = _META.unpack_from(begin, _PAGE.size)[:2]
    if magic == _MAGIC and version != _FORMAT:
        raise UnknownFormat(f"{name} is of LMDB format {version}, this version reads {_FORMAT}; it is left as it is")
    if magic == int.from_bytes(_MAGIC.to_bytes(4, "little"), "big"):
        raise UnknownFormat(f"{name} was written on a machine of the other byte order; it is left as it is")


class _Pages:
    """The pages of one state, each of which is to have one owner."""

    def __init__(self, file: int, state: _State) -> None:
        self._file, self._state = file, state
        self._page_bytes = state.free.page_bytes
        self._file_bytes = os.fstat(file).st_size
        _require(state.last_page * self._page_bytes < self._file_bytes, "it is cut off")
        self._owned = bytearray(state.last_page + 1)
        self._owned[:2] = 1, 1

    def check(self) -> None:
        """Walks all trees."""
        self.take_free()
        for table in self._entries(self._state.tables):
            _require((table.flags, table.size) == (_IS_TREE, _TREE.size), f"{table.key!r} is no table")
            tree = _Tree(*_TREE.unpack(table.data))
            _require((tree.page_bytes, tree.flags) == (0, 0), f"{table.key!r} is of an unknown kind")
            for _ in self._entries(tree):
                pass
        lost = self._owned.find(0)
        _require(lost < 0, f"page {lost} belongs to nothing")

    def take_free(self) -> None:
        """The pages that nothing uses, in lists by the commit that freed them."""
        for node in self._entries(self._state.free):
            _require(len(node.key) == _NUMBER.size and node.size % _NUMBER.size == 0, "a list of free pages is cut off")
            commit = int.from_bytes(node.key, "big")
            _require(0 < commit <= self._state.commit, f"pages were freed by commit {commit}, which is to come")
            data = node.data or self._read(node.page * self._page_bytes + _PAGE.size, node.size)
            count, *pages = struct.unpack(f"={node.size // _NUMBER.size}Q", data)
            _require(count == len(pages), "a list of free pages is cut off")
            for page in pages:
                self._own(page)

    def _entries(self, tree: _Tree) -> Iterator[_Node]:
        """Every entry of a tree, which is as large as it says."""
        found: Counter[str] = Counter()
        if tree.root != _NO_PAGE:
            for leaf in self._leaves(tree.root, tree.depth, tree.flags, _LOWEST, _HIGHEST, found):
                found["entries"] += len(leaf)
                yield from leaf
        for what in ("branches", "leaves", "others", "entries"):
            said = getattr(tree, what)
            _require(found[what] == said, f"a tree has {found[what]} {what} and says {said}")

    def _leaves(
        self, page: int, depth: int, flags: int, low: bytes, high: bytes, found: Counter[str]
    ) -> Iterator[list[_Node]]:
        """The entries of each leaf under a page, whose keys are at least `low` and below `high`."""
        kind = _LEAF if depth == 1 else _BRANCH
        nodes = self._nodes(page, kind, flags)
        keys = [node.key for node in nodes]
        if kind == _LEAF:
            found["leaves"] += 1
            _require(low <= keys[0] and _rise([*keys, high]), f"the keys of page {page} are out of order")
            for node in nodes:
                if node.flags & _ELSEWHERE:
                    found["others"] += self._own_value(node)
            yield nodes
            return
        found["branches"] += 1
        keys[0] = low  # the first child takes all that is below the second key
        _require(_rise([*keys, high]), f"the keys of page {page} are out of order")
        for node, inner, outer in zip(nodes, keys, [*keys[1:], high], strict=True):
            yield from self._leaves(node.page, depth - 1, flags, inner, outer, found)

    def _nodes(self, page: int, kind: int, flags: int) -> list[_Node]:
        """The entries of a page, of which there is one at least. They fill it from `begin` on, side by side."""
        self._own(page)
        size = self._page_bytes
        data = self._read(page * size, size)
        number, _, is_kind, end, begin = _PAGE.unpack_from(data)
        _require((number, is_kind) == (page, kind), f"page {page} is another's")
        _require(_PAGE.size + 2 <= end <= begin <= size, f"page {page} has no room for what it holds")
        nodes, borders = [], [begin, size]
        for offset in struct.unpack_from(f"={(end - _PAGE.size) // 2}H", data, _PAGE.size):
            node, behind = _read_node(data, offset, kind)
            nodes.append(node)
            borders += offset, behind + behind % 2
        borders.sort()
        _require(borders[::2] == borders[1::2], f"the entries of page {page} do not fill their place")
        return [node._replace(key=node.key[::-1]) for node in nodes] if flags & _NUMBERS_REVERSED else nodes

    def _own_value(self, node: _Node) -> int:
        """Takes the pages of a value that lies elsewhere. Returns how many."""
        end = _PAGE.size + node.size
        if node.page * self._page_bytes + end > self._file_bytes:
            raise BrokenFile(f"the value of {node.key.hex()} is cut off")
        count = (end - 1) // self._page_bytes + 1
        self._own(node.page, count)
        return count

    def _own(self, page: int, count: int = 1) -> None:
        behind = page + count
        if behind > len(self._owned):
            raise BrokenFile(f"page {page} is behind the last one")
        if self._owned.find(1, page, behind) >= 0:
            raise BrokenFile(f"page {page} has two owners")
        self._owned[page:behind] = b"\1" * count

    def _read(self, place: int, size: int) -> bytes:
        data = os.pread(self._file, size, place)
        _require(len(data) == size, "it is cut off")
        return data


def _read_state(file: int, page: int, page_bytes: int) -> _State:
    data = os.pread(file, _PAGE.size + _META.size, page * page_bytes)
    _require(len(data) == _PAGE.size + _META.size, "it is cut off")
    number, _, kind, *_ = _PAGE.unpack_from(data)
    magic, version, address, _, free, tables, last_page, commit = _META.unpack_from(data, _PAGE.size)
    _require((magic, version) == (_MAGIC, _FORMAT), "it is no file of LMDB 0.9")
    state = _State(_Tree(*_TREE.unpack(free)), _Tree(*_TREE.unpack(tables)), last_page, commit)
    size = state.free.page_bytes
    _require(size in (1 << n for n in range(9, 17)), f"pages of {size} bytes are unknown")
    _require((number, kind, address) == (page, _META_PAGE, 0), f"page {page} is another's")
    kinds = state.free.flags, state.tables.flags, state.tables.page_bytes
    _require(kinds == (_KEYS_ARE_NUMBERS, 0, 0), "its trees are of an unknown kind")
    return state


def _read_node(page: bytes, offset: int, kind: int) -> tuple[_Node, int]:
    """An entry, and where it ends."""
    if offset + _NODE.size > len(page):
        raise BrokenFile("an entry leaves its page")
    low, middle, flags, key_size = _NODE.unpack_from(page, offset)
    key_end = offset + _NODE.size + key_size
    key = page[offset + _NODE.size : key_end]
    if kind == _BRANCH:
        return _Node(key, 0, 0, b"", low | middle << 16 | flags << 32), key_end
    size = low | middle << 16
    if flags in (0, _IS_TREE):
        return _Node(key, flags, size, page[key_end : key_end + size], 0), key_end + size
    data = page[key_end : key_end + _NUMBER.size]
    if flags != _ELSEWHERE or len(data) != _NUMBER.size:
        raise BrokenFile("an entry is of no known kind")
    return _Node(key, flags, size, b"", *_NUMBER.unpack(data)), key_end + _NUMBER.size


def _rise(keys: list[bytes]) -> bool:
    return all(a < b for a, b in itertools.pairwise(keys))


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BrokenFile(otherwise)
