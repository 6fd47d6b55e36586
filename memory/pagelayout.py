"""How LMDB 0.9 lays out the pages of a file (format 1, 64 bits), as its `mdb.c` has them. Reads pages, and no trees."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from typing import NamedTuple

from .errors import BrokenFile, UnknownFormat

PAGE = struct.Struct("=QHHHH")  # number, padding, flags, end of the offsets, begin of the nodes
_NODE = struct.Struct("=HHHH")  # size of the data in two halves, flags, size of the key; in a branch: child, key
TREE = struct.Struct("=IHHQQQQQ")
_META = struct.Struct("=IIQQ48s48sQQ")
NUMBER = struct.Struct("=Q")
_MAGIC, _FORMAT = 0xBEEFC0DE, 1
BRANCH, LEAF, _META_PAGE = 1, 2, 8
ELSEWHERE, IS_TREE = 1, 2
_KEYS_ARE_NUMBERS = 8
NUMBERS_REVERSED = _KEYS_ARE_NUMBERS if sys.byteorder == "little" else 0
NO_PAGE = 2**64 - 1


class Tree(NamedTuple):
    """Where a tree begins, and what it says about itself."""

    page_bytes: int  # said by the free pages' tree alone
    flags: int
    depth: int
    branches: int
    leaves: int
    others: int  # pages of values that lie elsewhere
    entries: int
    root: int


class State(NamedTuple):
    """One of the two that a file holds: what the last commit left, or the one before."""

    free: Tree
    tables: Tree
    last_page: int
    commit: int


class Node(NamedTuple):
    """An entry of a page. `page` is a branch's child, or where a value begins that lies elsewhere."""

    key: bytes
    flags: int
    size: int
    data: bytes
    page: int


def refuse_other_formats(file: int, name: Path) -> None:
    """Raises UnknownFormat where another version of LMDB, or another kind of machine, wrote the file."""
    begin = os.pread(file, PAGE.size + _META.size, 0)
    if len(begin) < PAGE.size + _META.size:
        return
    magic, version = _META.unpack_from(begin, PAGE.size)[:2]
    if magic == _MAGIC and version != _FORMAT:
        raise UnknownFormat(f"{name} is of LMDB format {version}, this version reads {_FORMAT}; it is left as it is")
    if magic == int.from_bytes(_MAGIC.to_bytes(4, "little"), "big"):
        raise UnknownFormat(f"{name} was written on a machine of the other byte order; it is left as it is")


def read_state(file: int, page: int, page_bytes: int) -> State:
    """One of a file's two states.

    Raises:
        BrokenFile: it is not what LMDB writes there.
    """
    data = os.pread(file, PAGE.size + _META.size, page * page_bytes)
    require(len(data) == PAGE.size + _META.size, "it is cut off")
    number, _, kind, *_ = PAGE.unpack_from(data)
    magic, version, address, _, free, tables, last_page, commit = _META.unpack_from(data, PAGE.size)
    require((magic, version) == (_MAGIC, _FORMAT), "it is no file of LMDB 0.9")
    state = State(Tree(*TREE.unpack(free)), Tree(*TREE.unpack(tables)), last_page, commit)
    size = state.free.page_bytes
    require(size in (1 << n for n in range(9, 17)), f"pages of {size} bytes are unknown")
    require((number, kind, address) == (page, _META_PAGE, 0), f"page {page} is another's")
    kinds = state.free.flags, state.tables.flags, state.tables.page_bytes
    require(kinds == (_KEYS_ARE_NUMBERS, 0, 0), "its trees are of an unknown kind")
    return state


def read_node(page: bytes, offset: int, kind: int) -> tuple[Node, int]:
    """An entry, and where it ends.

    Args:
        kind: `BRANCH` or `LEAF`.

    Raises:
        BrokenFile: it leaves its page, or is of no known kind.
    """
    if offset + _NODE.size > len(page):
        raise BrokenFile("an entry leaves its page")
    low, middle, flags, key_size = _NODE.unpack_from(page, offset)
    key_end = offset + _NODE.size + key_size
    key = page[offset + _NODE.size : key_end]
    if kind == BRANCH:
        return Node(key, 0, 0, b"", low | middle << 16 | flags << 32), key_end
    size = low | middle << 16
    if flags in (0, IS_TREE):
        return Node(key, flags, size, page[key_end : key_end + size], 0), key_end + size
    data = page[key_end : key_end + NUMBER.size]
    if flags != ELSEWHERE or len(data) != NUMBER.size:
        raise BrokenFile("an entry is of no known kind")
    return Node(key, flags, size, b"", *NUMBER.unpack(data)), key_end + NUMBER.size


def require(holds: bool, otherwise: str) -> None:
    """Raises BrokenFile with what is wrong otherwise."""
    if not holds:
        raise BrokenFile(otherwise)
