"""`ServerConfig`: the `[server]` table of a configuration file."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from .protocol import DEFAULT_ADDRESS, DEFAULT_EVENTS_ADDRESS


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where clients reach the daemon.

    Attributes:
        address: where requests are answered; anything but loopback needs `keys_folder`.
        events_address: where events are published.
        keys_folder: folder made by `longwatch keys`; with it only clients whose public key lies there get in.
        answers_at_once: questions answered side by side; more are refused as busy.
        client_queue_bytes: what may wait for a client that does not read, before it is given up.
    """

    address: Annotated[str, Meta(pattern=r"^(tcp|ipc)://.+")] = DEFAULT_ADDRESS
    events_address: Annotated[str, Meta(pattern=r"^(tcp|ipc)://.+")] = DEFAULT_EVENTS_ADDRESS
    keys_folder: str = ""
    answers_at_once: Annotated[int, Meta(ge=1, le=256)] = 8
    client_queue_bytes: Annotated[int, Meta(ge=1 << 16)] = 8 << 20
