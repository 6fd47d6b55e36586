"""The client's exceptions, each with the command line's exit code.

ClientError
├── DaemonUnreachable   no daemon answers at the address (3)
├── ClientTimeout       the daemon did not answer in time (3)
├── Refused             the daemon answered with an error; `code` says which (4)
└── BadInput            what the user gave cannot be used (2)
    ├── BadTime         a time that cannot be read
    ├── BadAddress      an address that is not valid
    ├── BadKeys         a folder of keys that cannot be read or written
    └── BadFolder       a folder that pictures cannot be saved in
"""

from typing import ClassVar


class ClientError(Exception):
    """Any reason why a client gets no answer."""

    exit_code: ClassVar[int] = 1


class DaemonUnreachable(ClientError):
    """No daemon answers at the address."""

    exit_code = 3


class ClientTimeout(ClientError):
    """The daemon did not answer in time."""

    exit_code = 3


class Refused(ClientError):
    """The daemon answered with an error.

    Attributes:
        code: which, as in `daemon.errors`; it never changes its meaning.
    """

    exit_code = 4

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class BadInput(ClientError):
    """What the user gave cannot be used."""

    exit_code = 2


class BadTime(BadInput):
    """A time that cannot be read."""


class BadAddress(BadInput):
    """An address that is not valid."""


class BadKeys(BadInput):
    """A folder of keys that cannot be read or written."""


class BadFolder(BadInput):
    """A folder that pictures cannot be saved in."""
