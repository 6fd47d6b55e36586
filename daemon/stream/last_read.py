"""`LastRead`: the recording that a stream was last read from, so that no other is taken for its continuation."""

from __future__ import annotations

import re

import msgspec

from ...memory.book import Book
from ...memory.errors import StorageError
from ..capture.address import kind_of, path_of
from ..capture.settings import SourceConfig
from ..log import get_logger
from .file_head import digest_head

_ABOUT = "last read"
_LENGTH = re.compile(r"(?<=[?&])minutes=[^&]*&?")
_log = get_logger("stream")


class LastRead(msgspec.Struct, frozen=True):
    """A recording. All cameras count as one, which has no beginning.

    Attributes:
        start_ns: UTC of its second 0.
        url: a scene's without its length, which may be changed.
        head: a digest of a file's first bytes, since files are moved; empty for a scene.
        others_id: blocks of the stream up to this one were read from something else.
    """

    start_ns: int
    url: str
    head: str
    others_id: int = 0

    def is_same(self, other: LastRead) -> bool:
        """Whether one goes on where the other was left. A file that is still written to may change anywhere."""
        moved = bool(self.head) and self.head == other.head
        return self.start_ns == other.start_ns and (self.url == other.url or moved)


def find_others_id(stream: str, config: SourceConfig, start_ns: int, newest_id: int, book: Book) -> int:
    """The newest block of a stream that was read from anything else than this source; 0 if there is none.

    Notes in the book that this source is read from now on. If another was read before, it no longer matters how far
    that was seen where its blocks are forgotten.

    Args:
        start_ns: UTC of a recording's second 0.
        newest_id: of the stream's blocks, 0 if it has none.

    Raises:
        StorageError: the book cannot be read.
    """
    known = _parse(book.note(stream, _ABOUT))
    now = _identify(config, start_ns)
    if now is None:  # the file is not there now; when it is, it may be the same
        return 0 if known is None else known.others_id
    if known is not None and known.is_same(now):
        return known.others_id
    if known is not None:
        now = msgspec.structs.replace(now, others_id=newest_id)
    try:
        if known is not None:
            book.forget_seen(stream)  # first: if we crash between the two, both are done again
        book.keep_note(stream, _ABOUT, msgspec.json.encode(now))
    except StorageError as exc:
        _log.warning("the next start will read this from its beginning", stream=stream, error=str(exc))
    return now.others_id


def _identify(config: SourceConfig, start_ns: int) -> LastRead | None:
    """This source; None if it is a file that cannot be read now."""
    kind = kind_of(config.url)
    if kind not in ("file", "scene"):
        return LastRead(0, "", "")
    if kind == "scene":
        return LastRead(start_ns, _LENGTH.sub("", config.url).rstrip("?&"), "")
    head = digest_head(path_of(config.url))
    return None if head is None else LastRead(start_ns, config.url, head)


def _parse(note: bytes) -> LastRead | None:
    try:
        return msgspec.json.decode(note, type=LastRead) if note else None
    except msgspec.MsgspecError:  # another version's
        return None
