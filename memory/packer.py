"""`Packer`: turns blocks into records and back, for one model and one codec."""

from __future__ import annotations

from typing import NamedTuple

from .block import Block
from .codec.codec import Codec
from .codec.registry import CODECS
from .record import Record, read_record, write_record
from .scales import Scales
from .streamscales import StreamScales

_UNSCALED = "int4"  # for a stream's first blocks, on which its scales are measured


class PackedBlock(NamedTuple):
    """A sealed record, what it was packed with, and the scales that it needs to be read."""

    record: bytes
    codec: Codec
    scales: Scales | None


class Packer:
    """Thread-safe.

    Args:
        codec: name of the codec for new blocks; the records of old ones name theirs.
        fingerprint: hex digest of model and configuration; blocks of another are refused.
        scales: of every stream.
    """

    def __init__(self, codec: str, fingerprint: str, scales: StreamScales) -> None:
        self._codec = CODECS[codec]
        self._fingerprint = bytes.fromhex(fingerprint)[:16]
        self.scales = scales

    def pack(self, stream: str, block: Block) -> PackedBlock:
        """A new block. A scaled codec waits until the stream's scales are measured.

        Raises:
            CodecError: the block does not fit the codec.
        """
        scales = self.scales.for_new(stream, block) if self._codec.scaled else None
        codec = CODECS[_UNSCALED] if self._codec.scaled and scales is None else self._codec
        return PackedBlock(self.pack_with(block, codec, scales), codec, scales)

    def pack_with(self, block: Block, codec: Codec, scales: Scales | None) -> bytes:
        """A block's record by a certain codec."""
        return write_record(block, codec, self._fingerprint, scales)

    def read(self, stream: str, record: bytes, what: str) -> Record:
        """A record's parts, checked; the keys and values are still packed.

        Args:
            what: begins the sentence of an error.

        Raises:
            CorruptBlock: a checksum or length does not hold, or its scales cannot be read.
            FingerprintMismatch: another model made it.
            UnknownFormat: it is of a newer version.
        """
        return read_record(record, self._fingerprint, what, lambda digest: self.scales.find(stream, digest))
