"""A store's folder: its lock, its names, and which files lie where. Knows nothing of what they hold.

store.lock              held by the one process that has the store
store.book/             see `Book`; names with a dot are never a stream's
STREAM/DAY/data.mdb     see `Partition`
STREAM/DAY/data.mdb.broken-TIME   set aside, since it is proven not to be what LMDB left there
STREAM/DAY.gone-TIME    a day that is not in the store any more, on its way to be deleted
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from .errors import StoreInUse, StoreUnreadable, StoreUnwritable

STREAM_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")  # for fullmatch: `$` would let a line feed pass
LAST_NS = 9_223_286_400_000_000_000 - 1  # the end of the last whole day that 63 bits can count, 2262-04-10
_HELD_NS = 7 * 86_400 * 1_000_000_000  # no scene holds for longer: see `keep_seconds`
_DAY_NAME = re.compile(r"\d{4}-\d\d-\d\d")
_GONE, _BROKEN = ".gone-", "data.mdb.broken-"
_BESIDE_DATA = {"index", "fresh"}
_LOCK, _OLD_LOCK = "store.lock", "lock"
_OLD_CALIBRATION = "calibration"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def day_of(time_ns: int) -> str:
    """The UTC day that a time belongs to, as its partition is named: `2026-03-02`."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d")


def day_span(day: str) -> tuple[int, int]:
    """The first and the last nanosecond of a day."""
    begin = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
    return begin * 1_000_000_000, (begin + 86_400) * 1_000_000_000 - 1


def unread_span(day: str) -> tuple[int, int]:
    """What blocks of a day may touch that cannot be read: a scene that began in it may have held for days after it."""
    first_ns, last_ns = day_span(day)
    return first_ns, last_ns + _HELD_NS


def take_folder(folder: Path) -> int:
    """Locks a store's folder for this process. Returns the lock file's descriptor: closing it gives the folder back.

    Raises:
        StoreInUse: another process has it.
        StoreUnwritable: it cannot be made or written.
    """
    try:
        _make(folder)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        raise StoreUnwritable(f"memory.folder {folder} cannot be used: {exc.strerror}") from exc
    try:
        _hold(lock, folder)
        _end_old_lock(folder)
    except BaseException:
        os.close(lock)
        raise
    with contextlib.suppress(OSError):  # a full disk has no room for our name, but the folder is ours all the same
        os.truncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
    return lock


def day_files(folder: Path) -> list[Path]:
    """The file of every stream's every day in a store's folder.

    Raises:
        StoreUnreadable: a folder cannot be looked into, so that days may be missed.
    """
    return [day / "data.mdb" for day in _day_folders(folder) if "data.mdb" in _names_in(day)]


def stream_folders(folder: Path) -> list[str]:
    """Names of the streams that have a folder, whatever is in it."""
    return [stream.name for stream in _folders_in(folder) if STREAM_NAME.fullmatch(stream.name)]


def broken_files(folder: Path, stream: str) -> list[Path]:
    """What was set aside of a stream's days.

    Raises:
        StoreUnreadable: as `day_files`.
    """
    days = _days_of(folder / stream)
    return [day / name for day in days for name in _names_in(day) if name.startswith(_BROKEN)]


def put_away(day_folder: Path) -> None:
    """Takes a day out of the store in one step, all of it or nothing. `delete_leftovers` deletes what it was."""
    day_folder.rename(day_folder.with_name(f"{day_folder.name}{_GONE}{time.time_ns()}"))


def delete_leftovers(folder: Path, stream: str, is_day: Callable[[str], bool]) -> None:
    """Deletes what is left of a stream's days that are gone, also what a kill left beside data that are deleted.

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


def is_there(path: Path) -> bool:
    """Whether a file or folder is there.

    Raises:
        StoreUnreadable: that cannot be told.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise _cannot_look(path, exc) from exc
    return True


def shut_others_out(folder: Path) -> list[str]:
    """Takes other users' rights to a store's folders and files. Returns what was done or could not be, in sentences.

    Whatever else lies in the folder keeps its rights, and so does then the folder itself.
    """
    changed, failed = 0, ""
    for path in _own_in(folder):
        try:
            mode = stat.S_IMODE(path.lstat().st_mode)
            if mode & _OTHERS and not path.is_symlink():
                path.chmod(mode & ~_OTHERS)
                changed += 1
        except OSError as exc:
            failed = failed or f"{path} can be read by other users: {exc.strerror}; change its rights as its owner"
    said = [f"{changed} files and folders of {folder} could be read by other users; they cannot any more"]
    return [*(said if changed else []), *([failed] if failed else [])]


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _make(folder: Path) -> None:
    """Makes a folder, with those that lead there, and their names durable; a loss of power would take all of it."""
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in new or [folder]:  # one that is there may be new since the last life, which was killed
        with contextlib.suppress(PermissionError):  # we may use it, and not list what lies beside it
            sync_folder(each.parent)


def _hold(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        raise StoreInUse(f"the store {folder} is in use by process {holder}") from exc


def _end_old_lock(folder: Path) -> None:
    """Earlier versions held a file `lock`, where a stream of that name would have its folder."""
    old = folder / _OLD_LOCK
    if not old.is_file():
        return
    try:
        handle = os.open(old, os.O_RDWR)
    except OSError as exc:
        raise StoreUnwritable(f"{old} cannot be used: {exc.strerror}") from exc
    try:
        _hold(handle, folder)
        old.unlink()
    finally:
        os.close(handle)


def _day_folders(folder: Path) -> Iterator[Path]:
    for stream in _folders_in(folder):
        if STREAM_NAME.fullmatch(stream.name):
            yield from _days_of(stream)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    sync_folder(path.parent)


def _leftovers(stream_folder: Path, is_day: Callable[[str], bool]) -> list[Path]:
    left = [day for day in _folders_in(stream_folder) if _DAY_NAME.fullmatch(day.name.partition(_GONE)[0])]
    found = [day for day in left if _GONE in day.name]
    for day in (day for day in left if _GONE not in day.name):
        names = set(_names_in(day))  # read first: a day is in the store before it has a folder
        beside = names & _BESIDE_DATA
        if beside and not is_day(day.name) and all(name.startswith(_BROKEN) for name in names - beside):
            found += [day] if names == beside else [day / name for name in sorted(beside)]
    return found


def _days_of(stream_folder: Path) -> list[Path]:
    return [day for day in _folders_in(stream_folder) if _DAY_NAME.fullmatch(day.name)]


def _folders_in(folder: Path) -> list[Path]:
    return [folder / name for name in _names_in(folder) if _is_folder(folder / name)]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as exc:
        raise _cannot_look(path, exc) from exc


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise _cannot_look(folder, exc) from exc


def _cannot_look(path: Path, why: OSError) -> StoreUnreadable:
    return StoreUnreadable(
        f"{path} cannot be looked into: {why.strerror}; make it readable to this user, then start again"
    )


def _own_in(folder: Path) -> list[Path]:
    """What the store made in its folder; with the folder itself, where it holds nothing else."""
    own: list[Path] = []
    is_shared = False
    for path in (folder / name for name in _names_in(folder) if name not in (_OLD_LOCK, _OLD_CALIBRATION)):
        found = _everything(path) if path.name.startswith("store.") else _own_of_stream(path)
        own += found
        is_shared = is_shared or not found
    return own if is_shared else [folder, *own]


def _own_of_stream(folder: Path) -> list[Path]:
    """A stream's folder and its days; empty where it is no stream's."""
    if not STREAM_NAME.fullmatch(folder.name) or not _is_folder(folder):
        return []
    days = [day for day in _days_of(folder) if any(name.startswith("data.mdb") for name in _names_in(day))]
    if not days and _names_in(folder):
        return []
    return [folder, *(path for day in days for path in _everything(day))]


def _everything(folder: Path) -> list[Path]:
    inside = [Path(where, name) for where, folders, files in os.walk(folder) for name in (*folders, *files)]
    return [folder, *inside]
