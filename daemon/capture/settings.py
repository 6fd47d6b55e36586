"""`SourceConfig`: a `[streams.NAME]` table of a configuration file."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from ..errors import ConfigError

_AN_HOUR, _A_DAY = 3600, 86_400


class SourceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a stream is read from, and how.

    Attributes:
        url: `rtsp://…`, `http://…`, a file, `/dev/video0` or its number, or `scene://?seed=7`.
        fps: frames sampled in a second.
        pace: `real` follows the clock; `fast` reads files and scenes as fast as they are encoded.
        start: UTC time of a file's or scene's second 0, as `2026-03-02T14:00:00`; empty means
            what the scene's address says, or the time of the first start.
        time_zone: IANA name of its zone. Questions name times in it, and the clocks in its blocks show it.
        stall_seconds: a live source that gives no frame for so long is restarted.
        frozen_seconds: a live source that gives the very same picture for so long is restarted; 0 means never.
        open_seconds: the longest that opening may take.
        reconnect_seconds: the longest pause between two attempts; the first are shorter.
        keep_seconds: a still scene gets a block of its own at least this often.
        gate_levels: a frame is new if some spot changed by so many of 255 levels; 0 takes every frame.
        gate_cosine: a visual token of a new frame is kept if its cosine to the last one kept at its place is below
            this; 1 keeps all. A frame is kept whole every `keep_seconds`.
        picture_pixels: longest side of the pictures kept as evidence.
        picture_quality: their JPEG quality.
        frame_pixels: a source whose frames have more pixels (width times height) is not read.
    """

    url: Annotated[str, Meta(min_length=1, max_length=2048)]
    fps: Annotated[float, Meta(ge=0.0001, le=60)] = 1.0
    pace: Literal["real", "fast"] = "real"
    start: Annotated[str, Meta(max_length=64)] = ""
    time_zone: Annotated[str, Meta(max_length=64)] = "UTC"
    stall_seconds: Annotated[float, Meta(gt=0, le=_A_DAY)] = 10.0
    frozen_seconds: Annotated[float, Meta(ge=0, le=_A_DAY)] = 0.0
    open_seconds: Annotated[float, Meta(gt=0, le=_AN_HOUR)] = 10.0
    reconnect_seconds: Annotated[float, Meta(gt=0, le=_A_DAY)] = 30.0
    keep_seconds: Annotated[float, Meta(gt=0, le=7 * _A_DAY)] = 300.0
    gate_levels: Annotated[float, Meta(ge=0, le=255)] = 16.0
    gate_cosine: Annotated[float, Meta(ge=0, le=1)] = 1.0
    picture_pixels: Annotated[int, Meta(ge=64, le=8192)] = 384
    picture_quality: Annotated[int, Meta(ge=1, le=100)] = 80
    frame_pixels: Annotated[int, Meta(ge=4096, le=1 << 28)] = 8192 * 8192

    def zone(self) -> tzinfo:
        """The time zone.

        Raises:
            ConfigError: there is none of this name.
        """
        try:
            return UTC if self.time_zone == "UTC" else ZoneInfo(self.time_zone)
        except (OSError, ValueError, KeyError) as exc:  # ZoneInfoNotFoundError is a KeyError
            raise ConfigError(
                f"time_zone is {self.time_zone!r}, but must be UTC or an IANA name like Europe/Berlin"
            ) from exc
