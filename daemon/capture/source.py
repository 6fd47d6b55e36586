"""`Source`: stamped frames from a camera, a file, an HTTP stream or the rendered scene."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Protocol

from ..errors import CaptureError
from .address import kind_of
from .message import Begin
from .scene import Scene
from .settings import SourceConfig
from .stamp import SECOND_NS, StampedFrame
from .video import VideoSource


class Source(Protocol):
    """Frames at the configured rate, in order.

    `live` says that frames come whether they are taken or not, so that the newest is the one to take; otherwise
    every frame is to be taken and reading waits.
    """

    live: bool

    def __iter__(self) -> Iterator[StampedFrame]:
        """Frames until the end.

        Raises:
            CaptureError: it cannot be read any more; a camera's stream that ends has broken.
        """

    def close(self) -> None:
        """Lets the device go."""


def open_source(begin: Begin) -> Source:
    """Opens what the address names, behind what has been read of it before.

    Raises:
        CaptureError: it cannot be opened, in one sentence with masked credentials.
    """
    return SceneSource(begin) if kind_of(begin.config.url) == "scene" else VideoSource(begin)


def start_ns(config: SourceConfig) -> int:
    """UTC time of a file's or scene's second 0: as configured, else as the scene's address says, else now.

    Raises:
        CaptureError: `start` is no time, or the address is not one that can be read.
    """
    kind = kind_of(config.url)
    if not config.start:
        return Scene.from_url(config.url).start_ns if kind == "scene" else time.time_ns()
    try:
        start = datetime.fromisoformat(config.start)
    except ValueError as exc:
        raise CaptureError(f"start: {config.start!r} is no time; write it as 2026-03-02T14:00:00") from exc
    return int(start.replace(tzinfo=start.tzinfo or UTC).timestamp()) * SECOND_NS


class SceneSource:
    """The rendered yard."""

    def __init__(self, begin: Begin) -> None:
        config = begin.config
        self._scene = dataclasses.replace(Scene.from_url(config.url), start_ns=begin.start_ns)
        self._fps, self._after_ns = config.fps, begin.after_ns
        self.live = config.pace == "real"

    def __iter__(self) -> Iterator[StampedFrame]:
        """See `Source`; at real pace a second of the scene takes a second."""
        began = time.monotonic_ns() - max(0, self._after_ns)
        end_seconds = self._scene.duration_seconds or math.inf
        # The small part added keeps a frame that was taken from being taken again where its time was rounded down.
        sequence = math.floor(self._after_ns / SECOND_NS * self._fps + 1e-6) + 1 if self._after_ns >= 0 else 0
        while sequence / self._fps < end_seconds:
            pts_ns = round(sequence / self._fps * SECOND_NS)
            if self.live:
                time.sleep(max(0, began + pts_ns - time.monotonic_ns()) / SECOND_NS)
            image = self._scene.render(pts_ns / SECOND_NS)
            yield StampedFrame(image, self._scene.start_ns + pts_ns, pts_ns, sequence)
            sequence += 1

    def close(self) -> None:
        """See `Source`."""
