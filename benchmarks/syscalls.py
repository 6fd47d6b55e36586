"""`read_calls`: what a process did to the files of a folder, from a trace by Debian's strace."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_TRACED = (
    "openat,open,creat,lseek,write,pwrite64,writev,pwritev,ftruncate,truncate,fsync,fdatasync,sync,syncfs,mkdir,mkdirat,"
    "rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,symlink,symlinkat,fallocate,copy_file_range,sendfile"
)
_LINE = re.compile(r"(\d+) +([\d.]+) (.*)")
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)")
_STARTED = " <unfinished ...>"
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_FILE = re.compile(r"(?:^|, )(AT_FDCWD|\d+)<((?:\\x[0-9a-f]{2})*)>")
_OPENED = re.compile(r"= (\d+)<((?:\\x[0-9a-f]{2})*)>")
_UNKNOWN = ("open", "creat", "truncate", "link", "linkat", "symlink", "symlinkat", "copy_file_range", "sendfile")


class Call(NamedTuple):
    """One call that changed something, or made a change durable.

    Attributes:
        time: when it came to its end, in seconds since 1970.
        what: `create`, `write`, `truncate`, `sync`, `mkdir`, `rename`, `remove`.
        path, target: absolute.
        data, offset: of a write; of a truncation, the offset is the new length.
        durable: a write that is durable when it returns.
    """

    time: float
    what: str
    path: str
    target: str = ""
    data: bytes = b""
    offset: int = 0
    durable: bool = False


class UnknownCall(Exception):
    """The folder was changed in a way that this file does not know."""


def tracer(trace: Path) -> list[str]:
    """The command that another one is put behind, to have what it does written to a file.

    Raises:
        SystemExit: strace is not installed.
    """
    if shutil.which("strace") is None:
        raise SystemExit("Debian's strace is not installed; apt-get install strace")
    return [
        "strace",
        "-f",
        "--seccomp-bpf",
        "-ttt",
        "-y",
        "-xx",
        "-s",
        str(1 << 24),
        "-e",
        f"trace={_TRACED}",
        "-o",
        str(trace),
    ]


def read_calls(trace: Path, folder: Path) -> Iterator[Call]:
    """All successful calls on a folder and what lies in it, in the order in which they ended.

    Raises:
        UnknownCall: one of them is of another kind.
    """
    under_way: dict[str, str] = {}
    places: dict[tuple[str, str], int] = {}  # where a file that is open stands, by number and path
    synced: set[tuple[str, str]] = set()  # files opened so that each write is durable
    with trace.open() as lines:
        for line in lines:
            if (found := _LINE.match(line)) is None:
                continue
            thread, time, rest = found.groups()
            if rest.endswith(_STARTED):
                under_way[thread] = rest.removesuffix(_STARTED)
                continue
            if resumed := _RESUMED.match(rest):
                rest = under_way.pop(thread, "") + resumed[1]
            if (call := _CALL.match(rest)) is not None and int(call[3]) >= 0:
                yield from _meaning(float(time), call[1], call[2], rest, int(call[3]), str(folder), places, synced)


def _meaning(
    time: float,
    name: str,
    arguments: str,
    line: str,
    result: int,
    folder: str,
    places: dict[tuple[str, str], int],
    synced: set[tuple[str, str]],
) -> Iterator[Call]:
    files = [(number, _bytes(path).decode()) for number, path in _FILE.findall(arguments)]
    if name in ("lseek", "write", "pwrite64", "writev", "pwritev", "ftruncate", "fsync", "fdatasync", "fallocate"):
        file = files[0] if files else ("", "")
        if not _within(file[1], folder):
            return
        if name == "lseek":
            places[file] = result
        elif name in ("fsync", "fdatasync"):
            yield Call(time, "sync", file[1])
        elif name == "ftruncate":
            yield Call(time, "truncate", file[1], offset=int(arguments.rsplit(",", 1)[1]))
        elif name == "fallocate":
            raise UnknownCall(line[:300])
        else:
            data = b"".join(_bytes(text) for text in _TEXT.findall(arguments))[:result]
            at = int(arguments.rsplit(",", 1)[1]) if name.startswith("p") else places.get(file, 0)
            if not name.startswith("p"):
                places[file] = at + result
            yield Call(time, "write", file[1], data=data, offset=at, durable=file in synced)
        return
    if name in ("sync", "syncfs"):
        yield Call(time, "sync", "")
        return
    texts = [_bytes(text).decode() for text in _TEXT.findall(arguments)]
    bases = [path for _, path in files] or [""]
    paths = [os.path.normpath(os.path.join(bases[min(i, len(bases) - 1)], text)) for i, text in enumerate(texts)]
    if not any(_within(path, folder) for path in paths):
        return
    if name in _UNKNOWN:
        raise UnknownCall(line[:300])
    if name == "openat":
        opened = _OPENED.search(line)
        file = (opened[1], _bytes(opened[2]).decode()) if opened else ("", "")
        places[file] = 0
        synced.discard(file)
        if "O_DSYNC" in arguments or "O_SYNC" in arguments:
            synced.add(file)
        if "O_CREAT" in arguments:
            yield Call(time, "create", paths[0])
        if "O_TRUNC" in arguments:
            yield Call(time, "truncate", paths[0])
    elif name.startswith("mkdir"):
        yield Call(time, "mkdir", paths[0])
    elif name.startswith("rename"):
        yield Call(time, "rename", paths[0], paths[1])
    else:
        yield Call(time, "remove", paths[0])


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
