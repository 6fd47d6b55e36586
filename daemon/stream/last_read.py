"""`LastRead`: the recording that a stream was last read from, so that no other is taken for its continuation."""

from __future__ import annotations

import re
from typing import Protocol

import msgspec

from ...memory.errors import StorageError
from ..capture.address import kind_of, path_of
from ..capture.settings import SourceConfig
from ..log import get_logger
from .file_head import head_of

_ABOUT = "last read"
_LENGTH = re.compile(r"(?<=[?&])minutes=[^&]*&?")
_log = get_logger("stream")


class Notes(Protocol):
    """Where it is kept, durable at once."""

    def note(self, stream: str, about: str) -> bytes:
        """What was noted of a stream, empty where nothing was."""

    def keep_note(self, stream: str, about: str, value: bytes) -> None:
        """Notes something of a stream."""

    def forget_seen(self, stream: str) -> None:
        """How far it was seen where that is erased counts no more."""


class LastRead(msgspec.Struct, frozen=True):
    """A recording; all cameras are one, which has no beginning.

    Attributes:
        start_ns: UTC of its second 0.
        url: a scene's without its length, which may be changed.
        head: tells a file by what is in it, since files are moved; empty for a scene.
        others_id: blocks of the stream up to this one were read from something else.
    """

    start_ns: int
    url: str
    head: str
    others_id: int = 0

    def is_same(self, other: LastRead) -> bool:
        """Whether the one goes on where the other was left: a file that is written to may change all over."""
        moved = bool(self.head) and self.head == other.head
        return self.start_ns == other.start_ns and (self.url == other.url or moved)


def others_id(stream: str, config: SourceConfig, start_ns: int, newest_id: int, notes: Notes) -> int:
    """The newest block of a stream that was read from anything else than this; 0 where none was.

    Notes that this is what is read from now on. How far another was seen where that is erased counts no more.

    Args:
        start_ns: UTC of a recording's second 0.
        newest_id: of the stream's blocks, 0 where it has none.

    Raises:
        StorageError: the notes cannot be read.
    """
    known = _known(notes.note(stream, _ABOUT))
    now = _told(config, start_ns)
    if now is None:  # it is not there now, and may be the same when it is
        return 0 if known is None else known.others_id
    if known is not None and known.is_same(now):
        return known.others_id
    if known is not None:
        now = msgspec.structs.replace(now, others_id=newest_id)
    try:
        if known is not None:
            notes.forget_seen(stream)  # first: after a crash between the two it is done again
        notes.keep_note(stream, _ABOUT, msgspec.json.encode(now))
    except StorageError as exc:
        _log.warning("the next start will read this from its beginning", stream=stream, error=str(exc))
    return now.others_id


def _told(config: SourceConfig, start_ns: int) -> LastRead | None:
    kind = kind_of(config.url)
    if kind not in ("file", "scene"):
        return LastRead(0, "", "")
    if kind == "scene":
        return LastRead(start_ns, _LENGTH.sub("", config.url).rstrip("?&"), "")
    head = head_of(path_of(config.url))
    return None if head is None else LastRead(start_ns, config.url, head)


def _known(note: bytes) -> LastRead | None:
    try:
        return msgspec.json.decode(note, type=LastRead) if note else None
    except msgspec.MsgspecError:  # another version's
        return None
