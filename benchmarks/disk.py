"""`Disk`: what is on a disk after some calls, and what a loss of power may leave of it.

What was synced is there: a file's bytes by a sync of the file, its name by a sync of the folder that holds it. Of all
else any part may be missing: a write, the end of a write, the name of a file, the removal of one. A rename is whole or
not at all. This is less than most file systems promise, and what POSIX does.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from syscalls import Call

_T = TypeVar("_T")

SECTOR_BYTES = 512  # a disk writes them whole
MANNERS = ("nothing", "all", "data", "names", "first", "some")


@dataclass
class _File:
    """A file's bytes as they are durable, and the writes that are not; one without bytes is a truncation."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        for offset, data in self.pending:
            _write(self.durable, offset, data)
        self.pending.clear()


@dataclass
class _Folder:
    """A folder's entries as they are durable: what each name stands for."""

    names: dict[str, _File | _Folder] = field(default_factory=dict)
    now: dict[str, _File | _Folder] = field(default_factory=dict)  # with all that is not durable yet


@dataclass
class _Change:
    """A change of names that may be lost as a whole: in some folders, what a name stands for now, or None."""

    entries: list[tuple[_Folder, str, _File | _Folder | None]]


class Disk:
    """A folder that is there, durable and empty, when it begins."""

    def __init__(self, folder: Path) -> None:
        self._root, self._prefix = _Folder(), f"{folder}/"
        self._changes: list[_Change] = []

    def apply(self, call: Call) -> bool:
        """Carries a call out. Returns whether anything is other than before."""
        match call.what:
            case "create":
                parent, name = self._place(call.path)
                if name in parent.now:
                    return False
                self._change((parent, name, _File()))
            case "mkdir":
                parent, name = self._place(call.path)
                self._change((parent, name, _Folder()))
            case "rename":
                (source, name), (target, new) = self._place(call.path), self._place(call.target)
                self._change((target, new, source.now[name]), (source, name, None))
            case "remove":
                self._change((*self._place(call.path), None))
            case "sync":
                self._sync(call.path)
            case _:
                file = self._node(call.path)
                if not isinstance(file, _File):
                    return False  # it has no name any more
                data = call.data if call.what == "write" else None
                if call.durable:
                    _write(file.durable, call.offset, data)
                else:
                    file.pending.append((call.offset, data))
        return True

    def leave(self, folder: Path, manner: str, rng: random.Random) -> None:
        """Writes what a loss of power may leave now into an empty folder.

        Args:
            manner: what of all that is not durable is there: `nothing`, `all`, every byte but no name (`data`), every
                name but no byte (`names`), what came `first`, or `some` of it.
        """
        names = _chosen(self._changes, {"data": "nothing", "names": "all"}.get(manner, manner), rng)
        entries: dict[int, dict[str, _File | _Folder]] = {}
        for change in names:
            for parent, name, node in change.entries:
                own = entries.setdefault(id(parent), dict(parent.names))
                if node is None:
                    own.pop(name, None)
                else:
                    own[name] = node
        self._write_folder(self._root, folder, entries, {"data": "all", "names": "nothing"}.get(manner, manner), rng)

    def _write_folder(
        self,
        node: _Folder,
        folder: Path,
        entries: dict[int, dict[str, _File | _Folder]],
        manner: str,
        rng: random.Random,
    ) -> None:
        for name, child in entries.get(id(node), node.names).items():
            if isinstance(child, _Folder):
                (folder / name).mkdir()
                self._write_folder(child, folder / name, entries, manner, rng)
                continue
            content = bytearray(child.durable)
            kept = _chosen(child.pending, manner, rng)
            for offset, data in kept:
                torn = manner in ("first", "some") and data and (offset, data) == kept[-1] and rng.random() < 0.5
                length = rng.randrange(0, len(data), SECTOR_BYTES) if torn and data else None
                _write(content, offset, data if length is None or data is None else data[:length])
            (folder / name).write_bytes(content)

    def _change(self, *entries: tuple[_Folder, str, _File | _Folder | None]) -> None:
        for parent, name, node in entries:
            if node is None:
                parent.now.pop(name, None)
            else:
                parent.now[name] = node
        self._changes.append(_Change(list(entries)))

    def _sync(self, path: str) -> None:
        node = self._node(path) if path else None
        if isinstance(node, _File):
            node.sync()
        elif isinstance(node, _Folder):
            for change in [change for change in self._changes if any(e[0] is node for e in change.entries)]:
                self._settle(change)

    def _settle(self, change: _Change) -> None:
        self._changes.remove(change)
        for parent, name, node in change.entries:
            if node is None:
                parent.names.pop(name, None)
            else:
                parent.names[name] = node

    def _place(self, path: str) -> tuple[_Folder, str]:
        head, _, name = path.rpartition("/")
        parent = self._node(head)
        assert isinstance(parent, _Folder), f"{path} lies in no folder"
        return parent, name

    def _node(self, path: str) -> _File | _Folder | None:
        node: _File | _Folder | None = self._root
        for name in (f"{path}/").removeprefix(self._prefix).split("/"):
            if name:
                node = node.now.get(name) if isinstance(node, _Folder) else None
        return node


def _chosen(pending: list[_T], manner: str, rng: random.Random) -> list[_T]:
    match manner:
        case "nothing":
            return []
        case "all":
            return pending
        case "first":
            return pending[: rng.randint(0, len(pending))]
        case _:
            return [each for each in pending if rng.random() < 0.5]


def _write(content: bytearray, offset: int, data: bytes | None) -> None:
    """A write, or where there is no data, a truncation."""
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data
