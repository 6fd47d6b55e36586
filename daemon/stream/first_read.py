"""`first_read_ns`: the time that a recording has which says none itself, the same at every start."""

from __future__ import annotations

from typing import Protocol

import msgspec

from ...memory.errors import StorageError
from ..capture.address import kind_of, path_of
from ..capture.settings import SourceConfig
from ..capture.source import says_start, start_ns
from ..log import get_logger
from .file_head import head_of

_ABOUT = "first read"
_log = get_logger("stream")


class Notes(Protocol):
    """Where it is kept, durable at once."""

    def note(self, stream: str, about: str) -> bytes:
        """What was noted of a stream, empty where nothing was."""

    def keep_note(self, stream: str, about: str, value: bytes) -> None:
        """Notes something of a stream."""


class FirstRead(msgspec.Struct, frozen=True):
    """What was read, told by what is in it and not by its name, and when its second 0 was."""

    what: str
    start_ns: int


def first_read_ns(stream: str, config: SourceConfig, notes: Notes) -> int | None:
    """UTC of second 0 of a file or scene for which nobody says a start: when the stream first read it.

    None where a start is said, for a camera, and for what cannot be read now. Another file under the same stream's
    name is read from its beginning, and so is one that was read before another.
    """
    what = _what(config)
    if what is None:
        return None
    known = _known(notes.note(stream, _ABOUT))
    if known is not None and known.what == what:
        return known.start_ns
    first = FirstRead(what, start_ns(config))
    try:
        notes.keep_note(stream, _ABOUT, msgspec.json.encode(first))
    except StorageError as exc:
        _log.warning("the next start will read this anew", stream=stream, error=str(exc))
    return first.start_ns


def _known(note: bytes) -> FirstRead | None:
    try:
        return msgspec.json.decode(note, type=FirstRead) if note else None
    except msgspec.MsgspecError:  # another version's
        return None


def _what(config: SourceConfig) -> str | None:
    """A file's first bytes, since files are moved and others take their names; a scene's address."""
    kind = kind_of(config.url)
    if says_start(config) or kind not in ("file", "scene"):
        return None
    if kind == "scene":
        return config.url
    return head_of(path_of(config.url))
