"""A store's folder: which files lie where. Knows nothing of what they hold.

store.lock                        held by the one process that has the store: see `take_folder`
store.book/                       see `Book`; a stream's name never has a dot
STREAM/DAY/data.mdb               see `Partition`
STREAM/DAY/index                  made from the data, and may be missing
STREAM/DAY/fresh/                 a file that is not finished yet
STREAM/DAY/data.mdb.broken-TIME   set aside, since it is proven not to be what LMDB left there
STREAM/DAY.gone-TIME              a day that is not in the store any more and will be deleted
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import StoreUnreadable, StoreUnwritable

STREAM_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")  # for fullmatch: `$` would let a line feed pass
_DAY_NAME = re.compile(r"\d{4}-\d\d-\d\d")
_GONE, _BROKEN = ".gone-", "data.mdb.broken-"
_BESIDE_DATA = {"index", "fresh"}


def day_files(folder: Path) -> list[Path]:
    """The data of every day of every stream in a store's folder.

    Raises:
        StoreUnreadable: a folder cannot be looked into, so that days may be missed.
    """
    return [day / "data.mdb" for day in _day_folders(folder) if "data.mdb" in names_in(day)]


def stream_folders(folder: Path) -> list[str]:
    """Names of the streams that have a folder, empty or not."""
    return [stream.name for stream in _folders_in(folder) if STREAM_NAME.fullmatch(stream.name)]


def broken_files(folder: Path, stream: str) -> list[Path]:
    """Files of a stream's days that were set aside.

    Raises:
        StoreUnreadable: as `day_files`.
    """
    days = days_of(folder / stream)
    return [day / name for day in days for name in names_in(day) if name.startswith(_BROKEN)]


def put_away(day_folder: Path) -> None:
    """Takes a day out of the store in one step: deleting its files one by one could be cut short by a crash.

    `delete_leftovers` then deletes them.
    """
    day_folder.rename(day_folder.with_name(f"{day_folder.name}{_GONE}{time.time_ns()}"))


def delete_leftovers(folder: Path, stream: str, is_day: Callable[[str], bool]) -> None:
    """Deletes what is left of a stream's days that are gone, also an index file whose data were deleted before a kill.

    Args:
        is_day: whether a day is in the store, with or without a file yet.

    Raises:
        StoreUnwritable: something cannot be deleted.
    """
    left = _leftovers(folder / stream, is_day)
    failed: list[str] = []
    for path in left:
        try:
            _delete(path)
        except OSError as exc:  # the others are deleted all the same
            failed.append(f"{path} cannot be deleted: {exc.strerror}; delete it, or make it writable to this user")
    if failed:
        raise StoreUnwritable(failed[0])


def set_aside(file: Path) -> Path:
    """Puts a file that is proven to be broken out of the way, to `data.mdb.broken-TIME`. Returns where it is now.

    Raises:
        StoreUnwritable: it cannot be renamed.
    """
    now = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    aside, number = file.with_name(f"{_BROKEN}{now}"), 1
    while os.path.lexists(aside):  # of the same second
        number += 1
        aside = file.with_name(f"{_BROKEN}{now}-{number}")
    try:
        file.rename(aside)
        file.with_name("index").unlink(missing_ok=True)
    except OSError as exc:
        raise StoreUnwritable(
            f"{file} is broken and cannot be set aside: {exc.strerror}; make its folder writable to this user"
        ) from exc
    return aside


def days_of(stream_folder: Path) -> list[Path]:
    """The folders of a stream's days."""
    return [day for day in _folders_in(stream_folder) if _DAY_NAME.fullmatch(day.name)]


def is_folder(path: Path) -> bool:
    """As `Path.is_dir`.

    Raises:
        StoreUnreadable: nobody can say.
    """
    try:
        return path.is_dir()
    except OSError as exc:
        raise _cannot_look(path, exc) from exc


def names_in(folder: Path) -> list[str]:
    """The sorted names in a folder, none where it is not there.

    Raises:
        StoreUnreadable: it cannot be looked into.
    """
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise _cannot_look(folder, exc) from exc


def is_there(path: Path) -> bool:
    """Whether a file or folder is there.

    Raises:
        StoreUnreadable: nobody can say.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise _cannot_look(path, exc) from exc
    return True


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _day_folders(folder: Path) -> Iterator[Path]:
    for stream in _folders_in(folder):
        if STREAM_NAME.fullmatch(stream.name):
            yield from days_of(stream)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    sync_folder(path.parent)


def _leftovers(stream_folder: Path, is_day: Callable[[str], bool]) -> list[Path]:
    """Whole folders where nothing else is in them; a file that was set aside stays."""
    left = [day for day in _folders_in(stream_folder) if _DAY_NAME.fullmatch(day.name.partition(_GONE)[0])]
    found = [day for day in left if _GONE in day.name]
    for day in (day for day in left if _GONE not in day.name):
        names = set(names_in(day))  # before asking `is_day`: a new day is in the store before it has a folder
        beside = names & _BESIDE_DATA
        if beside and not is_day(day.name) and all(name.startswith(_BROKEN) for name in names - beside):
            found += [day] if names == beside else [day / name for name in sorted(beside)]
    return found


def _folders_in(folder: Path) -> list[Path]:
    return [folder / name for name in names_in(folder) if is_folder(folder / name)]


def _cannot_look(path: Path, why: OSError) -> StoreUnreadable:
    return StoreUnreadable(
        f"{path} cannot be looked into: {why.strerror}; make it readable to this user, then start again"
    )
