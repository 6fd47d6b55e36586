"""`MemoryConfig`: the `[memory]` table of a configuration file."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

CodecName = Literal["raw16", "raw32", "int8", "int4", "int2", "ecsq4", "ecsq2"]


class MemoryConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where keys and values are kept, and for how long.

    Attributes:
        folder: the store's folder; made if it is not there.
        codec: how blocks are packed. `raw16` keeps a 16-bit model's every bit, `raw32` a float32 model's; `int8`,
            `int4` and `int2` keep so many bits of each value and the block's own ranges; `ecsq4` and `ecsq2` are
            entropy-coded against the stream's scales and take less than 4 and about 2.5 bits.
        fade: by which codecs old days are packed anew to fewer bits, and how many days after they ended; empty keeps
            them as they are.
        ram_bytes: packed blocks kept in memory for fast recall; on a full disk, the most that wait for room.
        disk_bytes: above this the oldest days are dropped; 0 means no limit.
        keep_days: days older than this are dropped; 0 means for ever.
        commit_seconds: the longest that a block waits before it is durable.
        commit_bytes: a group of this size is committed at once.
        map_bytes: address space reserved for a day of a stream; sparse, costs no disk.
    """

    folder: str = "longwatch-data"
    codec: CodecName = "int4"
    fade: dict[CodecName, Annotated[float, Meta(ge=0)]] = {}
    ram_bytes: Annotated[int, Meta(ge=1 << 20)] = 1 << 30
    disk_bytes: Annotated[int, Meta(ge=0)] = 0
    keep_days: Annotated[float, Meta(ge=0)] = 30.0
    commit_seconds: Annotated[float, Meta(ge=0.05, le=60)] = 1.0
    commit_bytes: Annotated[int, Meta(ge=1 << 16)] = 32 << 20
    map_bytes: Annotated[int, Meta(ge=1 << 24, le=1 << 40)] = 64 << 30
