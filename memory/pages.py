"""`check_pages`: whether every page of an LMDB file is what its place in the file says.

LMDB maps its files and trusts them: a page that is not what it should be gives back another value, or ends the process.
So a file is read here before LMDB opens it: every tree, the list of free pages, and that each page has one owner. The
pages of large values are not read, since each value has a checksum; so this reads little of the disk.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .errors import BrokenFile, StoreUnreadable
from .pagelayout import (
    BRANCH,
    ELSEWHERE,
    IS_TREE,
    LEAF,
    NO_PAGE,
    NUMBER,
    NUMBERS_REVERSED,
    PAGE,
    TREE,
    Node,
    State,
    Tree,
    read_node,
    read_state,
    refuse_other_formats,
    require,
)

_LOWEST, _HIGHEST = b"", b"\xff" * 512  # keys have at most 511 bytes


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
    refuse_other_formats(file, name)
    first = read_state(file, 0, 0)
    states = first, read_state(file, 1, first.free.page_bytes)
    older, newer = sorted(states, key=lambda state: state.commit)
    require(older.free.page_bytes == newer.free.page_bytes, "its two states differ in the size of a page")
    if newer.commit:
        require(newer.commit == older.commit + 1, "its two states are not of commits in a row")
        require(states[newer.commit % 2] is newer, "its two states are in each other's place")
    # The older state's free pages name the commits that freed them, none of which may be later than itself. So a newer
    # state whose number was damaged cannot pass for the older one.
    _Pages(file, older).take_free()
    _Pages(file, newer).check()


class _Pages:
    """The pages of one state. Each must have one owner."""

    def __init__(self, file: int, state: State) -> None:
        self._file, self._state = file, state
        self._page_bytes = state.free.page_bytes
        self._file_bytes = os.fstat(file).st_size
        require(state.last_page * self._page_bytes < self._file_bytes, "it is cut off")
        self._owned = bytearray(state.last_page + 1)
        self._owned[:2] = 1, 1

    def check(self) -> None:
        """Walks all trees."""
        self.take_free()
        for table in self._entries(self._state.tables):
            require((table.flags, table.size) == (IS_TREE, TREE.size), f"{table.key!r} is no table")
            tree = Tree(*TREE.unpack(table.data))
            require((tree.page_bytes, tree.flags) == (0, 0), f"{table.key!r} is of an unknown kind")
            for _ in self._entries(tree):
                pass
        lost = self._owned.find(0)
        require(lost < 0, f"page {lost} belongs to nothing")

    def take_free(self) -> None:
        """Takes the pages that nothing uses. They stand in lists, one for each commit that freed some."""
        for node in self._entries(self._state.free):
            require(len(node.key) == NUMBER.size and node.size % NUMBER.size == 0, "a list of free pages is cut off")
            commit = int.from_bytes(node.key, "big")
            require(0 < commit <= self._state.commit, f"pages were freed by commit {commit}, which is to come")
            data = node.data or self._read(node.page * self._page_bytes + PAGE.size, node.size)
            count, *pages = struct.unpack(f"={node.size // NUMBER.size}Q", data)
            require(count == len(pages), "a list of free pages is cut off")
            for page in pages:
                self._own(page)

    def _entries(self, tree: Tree) -> Iterator[Node]:
        """Every entry of a tree. The tree must be as large as it says."""
        found: Counter[str] = Counter()
        if tree.root != NO_PAGE:
            for leaf in self._leaves(tree.root, tree.depth, tree.flags, _LOWEST, _HIGHEST, found):
                found["entries"] += len(leaf)
                yield from leaf
        for what in ("branches", "leaves", "others", "entries"):
            said = getattr(tree, what)
            require(found[what] == said, f"a tree has {found[what]} {what} and says {said}")

    def _leaves(
        self, page: int, depth: int, flags: int, low: bytes, high: bytes, found: Counter[str]
    ) -> Iterator[list[Node]]:
        """The entries of each leaf under a page, whose keys are at least `low` and below `high`."""
        kind = LEAF if depth == 1 else BRANCH
        nodes = self._nodes(page, kind, flags)
        keys = [node.key for node in nodes]
        if kind == LEAF:
            found["leaves"] += 1
            require(low <= keys[0] and _rise([*keys, high]), f"the keys of page {page} are out of order")
            for node in nodes:
                if node.flags & ELSEWHERE:
                    found["others"] += self._own_value(node)
            yield nodes
            return
        found["branches"] += 1
        keys[0] = low  # the first child takes all that is below the second key
        require(_rise([*keys, high]), f"the keys of page {page} are out of order")
        for node, inner, outer in zip(nodes, keys, [*keys[1:], high], strict=True):
            yield from self._leaves(node.page, depth - 1, flags, inner, outer, found)

    def _nodes(self, page: int, kind: int, flags: int) -> list[Node]:
        """The entries of a page, at least one. Side by side they must fill it from `begin` to its end."""
        self._own(page)
        size = self._page_bytes
        data = self._read(page * size, size)
        number, _, is_kind, end, begin = PAGE.unpack_from(data)
        require((number, is_kind) == (page, kind), f"page {page} is another's")
        require(PAGE.size + 2 <= end <= begin <= size, f"page {page} has no room for what it holds")
        nodes, borders = [], [begin, size]
        for offset in struct.unpack_from(f"={(end - PAGE.size) // 2}H", data, PAGE.size):
            node, behind = read_node(data, offset, kind)
            nodes.append(node)
            borders += offset, behind + behind % 2
        borders.sort()
        require(borders[::2] == borders[1::2], f"the entries of page {page} do not fill their place")
        return [node._replace(key=node.key[::-1]) for node in nodes] if flags & NUMBERS_REVERSED else nodes

    def _own_value(self, node: Node) -> int:
        """Takes the pages of a value that lies elsewhere. Returns how many."""
        end = PAGE.size + node.size
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
        require(len(data) == size, "it is cut off")
        return data


def _rise(keys: list[bytes]) -> bool:
    return all(a < b for a, b in itertools.pairwise(keys))
