"""What a store keeps is for its own user alone: other users' rights to older files are taken away."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .folder import STREAM_NAME, days_of, is_folder, names_in
from .folderlock import OLD_LOCK

_OLD_CALIBRATION = "calibration"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def shut_others_out(folder: Path) -> list[str]:
    """Takes other users' rights to a store's folders and files. Returns what was done or could not be, in sentences.

    Whatever else lies in the folder keeps its rights; the folder itself then keeps them too.
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


def _own_in(folder: Path) -> list[Path]:
    """What the store made in its folder, and the folder itself if it holds nothing else."""
    own: list[Path] = []
    is_shared = False
    for path in (folder / name for name in names_in(folder) if name not in (OLD_LOCK, _OLD_CALIBRATION)):
        found = _everything(path) if path.name.startswith("store.") else _own_of_stream(path)
        own += found
        is_shared = is_shared or not found
    return own if is_shared else [folder, *own]


def _own_of_stream(folder: Path) -> list[Path]:
    """A stream's folder and its days; empty if it is not a stream's."""
    if not STREAM_NAME.fullmatch(folder.name) or not is_folder(folder):
        return []
    days = [day for day in days_of(folder) if any(name.startswith("data.mdb") for name in names_in(day))]
    if not days and names_in(folder):
        return []
    return [folder, *(path for day in days for path in _everything(day))]


def _everything(folder: Path) -> list[Path]:
    inside = [Path(where, name) for where, folders, files in os.walk(folder) for name in (*folders, *files)]
    return [folder, *inside]
