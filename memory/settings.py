"""`MemoryConfig`: the `[memory]` table of a configuration file."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

CodecName = Literal["raw16", "raw32", "int8", "int4", "int2", "ecsq4", "ecsq2", "ecsq1"]


class FadeStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a past day fades: it is packed to fewer bits or tokens, never to more than it has.

    Attributes:
        days: how long after its end.
        codec: as `MemoryConfig.codec`.
        tokens: the share of a block's visual tokens that stays: those that differ most from what the stream usually
            shows.
    """

    days: Annotated[float, Meta(ge=0)]
    codec: CodecName
    tokens: Annotated[float, Meta(gt=0, le=1)] = 1.0


class MemoryConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where keys and values are kept, and for how long.

    Attributes:
        folder: the store's folder; made if it is not there.
        codec: how blocks are packed. `raw16` keeps every bit of a 16-bit model, `raw32` of a float32 model; `int8`,
            `int4` and `int2` keep so many bits of each value and the block's own ranges; `ecsq4`, `ecsq2` and `ecsq1`
            are entropy-coded against the stream's scales and take less than 4, about 2 and less than 2 bits.
        fade: how old days are packed to less; empty keeps them as they are.
        ram_bytes: packed blocks kept in memory for fast recall. On a full disk, at most so much waits to be written.
        disk_bytes: what the files may take on the disk; 0 means no limit.
        content_bytes: what the blocks in them may take, free room inside the files not counted; 0 means no limit.
        low_water: above either limit the oldest days are dropped, until this share of the limit is taken.
        keep_days: days that ended, and were last written to, longer ago than this are dropped; 0 means never.
        notice_seconds: a day is announced in log and status for so long before it is dropped, after a start again. On
            a full disk a limit in bytes does not wait.
        commit_seconds: the longest that a block waits before it is durable.
        commit_bytes: a group of this size is committed at once.
        map_bytes: address space that a day of a stream begins with; it doubles whenever the day is full, and costs no
            disk.
    """

    folder: str = "longwatch-data"
    codec: CodecName = "ecsq4"
    fade: tuple[FadeStep, ...] = ()
    ram_bytes: Annotated[int, Meta(ge=1 << 20)] = 1 << 30
    disk_bytes: Annotated[int, Meta(ge=0)] = 0
    content_bytes: Annotated[int, Meta(ge=0)] = 0
    low_water: Annotated[float, Meta(gt=0, le=1)] = 0.9
    keep_days: Annotated[float, Meta(ge=0)] = 30.0
    notice_seconds: Annotated[float, Meta(ge=0, le=604_800)] = 600.0
    commit_seconds: Annotated[float, Meta(ge=0.05, le=60)] = 1.0
    commit_bytes: Annotated[int, Meta(ge=1 << 16)] = 32 << 20
    map_bytes: Annotated[int, Meta(ge=1 << 24, le=1 << 40)] = 64 << 30
