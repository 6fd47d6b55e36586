"""`decompress`: zstd with a limit that is checked before memory is taken. Else kilobytes could become gigabytes."""

from __future__ import annotations

import zstandard

from .errors import CorruptBlock

MOST_VALUES = 1 << 27  # of a block's keys: some ten times what the largest model keeps of a frame
_LARGEST_WINDOW = 1 << 27


def check_values(count: int, what: str) -> None:
    """Refuses a shape that no model has, before memory is taken for it.

    Raises:
        CorruptBlock: it has more values than a block can have.
    """
    if count > MOST_VALUES:
        raise CorruptBlock(f"{what} would have {count} values where at most {MOST_VALUES} are known")


def decompress(data: bytes | memoryview, most_bytes: int, what: str) -> bytes:
    """The content of one frame, of at most so many bytes.

    Args:
        what: begins the sentence of an error.

    Raises:
        CorruptBlock: it is no whole frame, or holds more.
    """
    try:
        frame = zstandard.get_frame_parameters(data)
        if frame.content_size not in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
            if frame.content_size > most_bytes:
                raise CorruptBlock(f"{what} would take {frame.content_size} bytes where at most {most_bytes} fit")
        elif most_bytes == 0:
            raise CorruptBlock(f"{what} holds something where nothing fits")
        reader = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
        return reader.decompress(data, max_output_size=most_bytes)
    except zstandard.ZstdError as exc:
        raise CorruptBlock(f"{what} cannot be decompressed: {exc}") from exc
