"""`ServerConfig` and `LogConfig`: the `[server]` and `[log]` tables of a configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .errors import ConfigError, NotAllowed
from .keyring import check_keys_folder
from .protocol import DEFAULT_ADDRESS, DEFAULT_EVENTS_ADDRESS
from .reach import OWN, check_port

SourceKind = Literal["network", "scene", "file", "webcam"]
Address = Annotated[str, Meta(pattern=r"^(own|(tcp|ipc)://.+)\Z", description="own, tcp://HOST:PORT or ipc://PATH")]
_LOOPBACK = (OWN, "tcp://127.", "tcp://localhost:", "tcp://[::1]:", "ipc://")


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where clients reach the daemon.

    Attributes:
        address: where requests are answered. `own` is a socket that only the same user can reach. Every address but
            `own`, `ipc://` and loopback needs `keys_folder`.
        events_address: where events are published; as `address`.
        keys_folder: folder made by `longwatch keys`. If it is set, only clients whose public key is in it get in, and
            each may do what its role allows.
        streams_from: the kinds of address that `streams add` may name. If empty: all kinds without a keys folder,
            network and scene with one.
        answers_at_once: questions answered at the same time; one client gets at most half of them. More are refused as
            busy.
        client_queue_bytes: bytes that may wait for a client that does not read, before it is dropped.
        all_queues_bytes: bytes that may wait for all clients together; above it, the one with the most is dropped.
    """

    address: Address = DEFAULT_ADDRESS
    events_address: Address = DEFAULT_EVENTS_ADDRESS
    keys_folder: str = ""
    streams_from: list[SourceKind] = []
    answers_at_once: Annotated[int, Meta(ge=1, le=256)] = 8
    client_queue_bytes: Annotated[int, Meta(ge=1 << 16)] = 8 << 20
    all_queues_bytes: Annotated[int, Meta(ge=1 << 16)] = 64 << 20

    def check_kind(self, kind: str) -> None:
        """Checks that `streams add` may name an address of this kind.

        Raises:
            NotAllowed: it may not; the message says which kinds it may.
        """
        every = ["network", "scene"] if self.keys_folder else ["network", "scene", "file", "webcam"]
        allowed = [str(each) for each in self.streams_from] or every
        if kind not in allowed:
            raise NotAllowed(
                f"here streams can be added from {', '.join(allowed)}, not from a {kind}; see server.streams_from"
            )


class LogConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much is logged, and in which form.

    Attributes:
        level: the least important messages that are still logged.
        json: one JSON object a line, for machines.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    json: bool = False


def check_addresses(server: ServerConfig) -> None:
    """Checks that the addresses can be used, and that no network can reach them without keys.

    Raises:
        ConfigError: an address is not loopback and there is no keys folder; an address has an impossible port; both
            addresses are the same; or the keys folder cannot be used.
    """
    for key in ("address", "events_address"):
        address = getattr(server, key)
        if not server.keys_folder and not address.startswith(_LOOPBACK):
            raise ConfigError(
                f"server.{key}: {address} is open to the network; set server.keys_folder (longwatch keys makes one)"
            )
        try:
            check_port(address)
        except ConfigError as exc:
            raise ConfigError(f"server.{key}: {exc}") from exc
    same = server.address == server.events_address
    if same and server.address != OWN and not server.address.endswith((":*", ":0")):
        raise ConfigError(f"server.events_address: {server.address} is also server.address; they must differ")
    if server.keys_folder:
        check_keys_folder(Path(server.keys_folder))
