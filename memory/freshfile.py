"""A day's files are written in a folder `fresh/` beside the old ones, and take their place once they are whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .folder import sync_folder

_FRESH = "fresh"


def delete_fresh(day_folder: Path) -> None:
    """Deletes what a kill has left of a file that was not finished."""
    shutil.rmtree(day_folder / _FRESH, ignore_errors=True)


@contextmanager
def fresh_folder(day_folder: Path) -> Iterator[Path]:
    """An empty folder in a day's folder. It is gone at the end of the context, with what is still in it.

    Raises:
        OSError: it cannot be made.
    """
    delete_fresh(day_folder)
    fresh = day_folder / _FRESH
    try:
        fresh.mkdir(mode=0o700)
        yield fresh
    finally:
        delete_fresh(day_folder)


def put_file(path: Path, content: Iterable[bytes]) -> None:
    """Writes a file that other users cannot read. It takes the place of an older one in one step, and is durable.

    Raises:
        OSError: it cannot be written; the older one is as it was.
    """
    with fresh_folder(path.parent) as fresh:
        with open(fresh / path.name, "wb", opener=_for_us_alone) as file:
            file.writelines(content)
            file.flush()
            os.fsync(
                file.fileno()
            )  # before the new name: else a loss of power could leave the name and not the content
        os.replace(fresh / path.name, path)
        sync_folder(path.parent)


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
