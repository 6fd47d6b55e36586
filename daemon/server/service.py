"""`Service`: what the server asks of the rest of the daemon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..protocol import Ask, Forget, Reply, StatusReply, StreamsAdd, StreamsRemove

OnReply = Callable[[Reply], None]


class Service(Protocol):
    """Called on the server's thread; each call returns at once. `on_reply` may be called from any thread."""

    def ask(self, request: Ask, key: tuple[bytes, str], on_reply: OnReply) -> None:
        """Begins an answer.

        Args:
            key: the client and the id of its request.

        Raises:
            DaemonError: the question is refused.
        """

    def cancel(self, key: tuple[bytes, str]) -> None:
        """Stops an answer. If there is none of this key, does nothing."""

    def status(self, request_id: str) -> StatusReply:
        """The state of the daemon and its streams."""

    def add_stream(self, request: StreamsAdd, on_reply: OnReply) -> None:
        """Begins to watch a stream; `on_reply` takes `Done` or an error.

        Raises:
            ConfigError: the source's configuration is wrong.
            NotAllowed: an address of this kind may not be added.
            Busy: too much is under way.
        """

    def remove_stream(self, request: StreamsRemove, on_reply: OnReply) -> None:
        """Stops watching a stream; `on_reply` and `Busy` as for `add_stream`."""

    def forget(self, request: Forget, on_reply: OnReply) -> None:
        """Forgets a time; `on_reply` takes `Forgotten` once it is gone, or an error. `Busy` as for `add_stream`."""
