"""`ServerConfig`: the `[server]` table of a configuration file."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .errors import NotAllowed
from .protocol import DEFAULT_ADDRESS, DEFAULT_EVENTS_ADDRESS

SourceKind = Literal["network", "scene", "file", "webcam"]
Address = Annotated[str, Meta(pattern=r"^(own|(tcp|ipc)://.+)\Z", description="own, tcp://HOST:PORT or ipc://PATH")]


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where clients reach the daemon.

    Attributes:
        address: where requests are answered. `own` is a socket that only the same user can reach; anything but that,
            `ipc://` and loopback needs `keys_folder`.
        events_address: where events are published; as `address`.
        keys_folder: folder made by `longwatch keys`; with it only clients whose public key lies there get in, and
            each does what its role lets it.
        streams_from: the kinds of address that `streams add` may name; with none, all kinds without a keys folder,
            and network and scene with one.
        answers_at_once: questions answered side by side, at most half of them for one client; more are refused as busy.
        client_queue_bytes: what may wait for a client that does not read, before it is given up.
        all_queues_bytes: what may wait for all such clients; beyond it, the one with the most is given up.
    """

    address: Address = DEFAULT_ADDRESS
    events_address: Address = DEFAULT_EVENTS_ADDRESS
    keys_folder: str = ""
    streams_from: list[SourceKind] = []
    answers_at_once: Annotated[int, Meta(ge=1, le=256)] = 8
    client_queue_bytes: Annotated[int, Meta(ge=1 << 16)] = 8 << 20
    all_queues_bytes: Annotated[int, Meta(ge=1 << 16)] = 64 << 20

    def check_kind(self, kind: str) -> None:
        """Whether `streams add` may name an address of this kind.

        Raises:
            NotAllowed: it may not; the sentence says which it may.
        """
        every = ["network", "scene"] if self.keys_folder else ["network", "scene", "file", "webcam"]
        allowed = [str(each) for each in self.streams_from] or every
        if kind not in allowed:
            raise NotAllowed(
                f"streams are added from {', '.join(allowed)} here, not from a {kind}; server.streams_from says which"
            )
