"""The client's exceptions.

ClientError
├── DaemonUnreachable   nobody answers at the address
├── ClientTimeout       the daemon did not answer in time
├── Refused             the daemon answered with an error; `code` says which
└── BadTime             a time given by the user cannot be read
"""


class ClientError(Exception):
    """Anything that keeps a client from its answer."""


class DaemonUnreachable(ClientError):
    """Nobody answers at the address."""


class ClientTimeout(ClientError):
    """The daemon did not answer in time."""


class Refused(ClientError):
    """The daemon answered with an error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class BadTime(ClientError):
    """A time given by the user cannot be read."""
