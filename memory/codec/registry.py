"""`CODECS`: every codec by the name that `memory.codec` in a configuration file gives it."""

from __future__ import annotations

from .codec import Codec
from .ecsq import EcsqCodec
from .integer import IntCodec
from .raw import RawCodec

CODECS: dict[str, Codec] = {
    codec.name: codec
    for codec in (
        RawCodec("raw16", 1, 2),
        RawCodec("raw32", 2, 4),
        IntCodec("int4", 4, 4),
        IntCodec("int8", 5, 8),
        IntCodec("int2", 6, 2),
        EcsqCodec("ecsq4", 7, 0.25, 0.22, zstd_level=3),
        EcsqCodec("ecsq2", 8, 0.9, 0.5, zstd_level=19),
        EcsqCodec("ecsq1", 9, 1.2, 0.7, zstd_level=19),
    )
}
