"""The memory's exceptions.

StorageError
├── BlockNotFound         an id was never stored, or was forgotten
├── CorruptBlock          a checksum or a length does not hold
├── BrokenFile            a day's file is not what LMDB left there
├── FingerprintMismatch   the block was made by another model or configuration
├── UnknownFormat         the store was written by a newer version, or is no store
├── CodecError            a block does not fit the codec
├── StoreInUse            another process has the store open
├── StoreUnreadable       a file is there, but cannot be read now; it may be whole
└── StoreUnwritable       the store cannot take more (disk full, read-only, closed)
"""


class StorageError(Exception):
    """Any error of the memory."""


class BlockNotFound(StorageError):
    """An id was never stored, or was forgotten."""


class CorruptBlock(StorageError):
    """A checksum or a length does not hold; nothing of the value is returned."""


class BrokenFile(StorageError):
    """A day's file is not what LMDB left there, and is not opened."""


class FingerprintMismatch(StorageError):
    """The block was made by another model or configuration."""


class UnknownFormat(StorageError):
    """The value was written by a newer version, or is no Longwatch value at all."""


class CodecError(StorageError):
    """A block does not fit the codec that should pack it."""


class StoreInUse(StorageError):
    """Another process has the store open."""


class StoreUnreadable(StorageError):
    """A file is there, but cannot be read now (permission, too many open files, a disk's error); it may be whole."""


class StoreUnwritable(StorageError):
    """The store cannot take more: disk full, read-only, or closed."""
