"""`FirstRead`: when a stream first read a recording that has no start time. Every start counts its time from there."""

from __future__ import annotations

import msgspec

from ...memory.book import Book
from ...memory.errors import StorageError
from ..capture.address import kind_of, path_of
from ..capture.settings import SourceConfig
from ..capture.source import has_start, start_of
from ..log import get_logger
from .file_head import digest_head

_ABOUT = "first read"
_log = get_logger("stream")


class FirstRead(msgspec.Struct, frozen=True):
    """What was read, and when its second 0 was.

    Attributes:
        what: a digest of a file's first bytes, since files are moved and others take their names; a scene's address.
    """

    what: str
    start_ns: int


def first_read_ns(stream: str, config: SourceConfig, book: Book) -> int | None:
    """UTC of second 0 of a file or scene whose start is not configured: the moment when the stream first read it.

    None if the start is configured, for a camera, and for what cannot be read now. Only the last recording is known:
    another file under the same stream's name begins now, and so does the earlier one if it comes back.
    """
    what = _identify(config)
    if what is None:
        return None
    known = _parse(book.note(stream, _ABOUT))
    if known is not None and known.what == what:
        return known.start_ns
    first = FirstRead(what, start_of(config))
    try:
        book.keep_note(stream, _ABOUT, msgspec.json.encode(first))
    except StorageError as exc:
        _log.warning("the next start will read this again from the beginning", stream=stream, error=str(exc))
    return first.start_ns


def _identify(config: SourceConfig) -> str | None:
    """See `FirstRead.what`."""
    kind = kind_of(config.url)
    if has_start(config) or kind not in ("file", "scene"):
        return None
    return config.url if kind == "scene" else digest_head(path_of(config.url))


def _parse(note: bytes) -> FirstRead | None:
    try:
        return msgspec.json.decode(note, type=FirstRead) if note else None
    except msgspec.MsgspecError:  # another version's
        return None
