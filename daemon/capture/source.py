"""`Source`: stamped frames from a camera, a file, an HTTP stream or the rendered scene."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit

from ...yard.errors import YardError
from ...yard.scene import Scene
from ..errors import CaptureError
from .address import kind_of
from .message import CaptureTask
from .settings import SourceConfig
from .stamp import SECOND_NS, StampedFrame, check_time, parse_start, ticks_ns
from .video import VideoSource


class Source(Protocol):
    """Frames at the configured rate, in order.

    If it is `live`, frames come whether they are taken or not, and the newest is the one to take. Otherwise reading
    waits until every frame is taken.
    """

    live: bool

    def __iter__(self) -> Iterator[StampedFrame]:
        """Frames until the end.

        Raises:
            CaptureError: it cannot be read any more. That a camera's stream ends is an error too.
        """

    def close(self) -> None:
        """Closes the device."""


def open_source(task: CaptureTask, on_progress: Callable[[], None] = lambda: None) -> Source:
    """Opens a source, at the place up to which it was read before.

    Args:
        on_progress: called while a recording is read on, or waits, and no frame is due.

    Raises:
        CaptureError: it cannot be opened, in one sentence with masked credentials.
    """
    return SceneSource(task, on_progress) if kind_of(task.config.url) == "scene" else VideoSource(task, on_progress)


def has_start(config: SourceConfig) -> bool:
    """Whether the configuration or a scene's address says when second 0 was."""
    return bool(config.start) or (
        kind_of(config.url) == "scene" and "start" in dict(parse_qsl(urlsplit(config.url).query))
    )


def start_of(config: SourceConfig) -> int:
    """UTC of a file's or scene's second 0, in ns: as configured, or as the scene's address says, or now.

    Raises:
        CaptureError: `start` is not a time that a frame may have, or the address is not valid.
    """
    scene = _scene_of(config.url) if kind_of(config.url) == "scene" else None
    if not config.start:
        return time.time_ns() if scene is None else scene.start_ns
    start = parse_start(config.start, "start:")
    if scene is not None and scene.duration_seconds is not None:
        check_time(start + int(min(scene.duration_seconds, 1e9) * SECOND_NS), f"start: the end of {config.url}")
    return start


class SceneSource:
    """The rendered yard."""

    def __init__(self, task: CaptureTask, on_progress: Callable[[], None]) -> None:
        config = task.config
        self._got_on = on_progress
        self._scene = dataclasses.replace(_scene_of(config.url), start_ns=task.start_ns)
        self._fps, self._after_ns = config.fps, task.after_ns
        self.live = config.pace == "real"

    def __iter__(self) -> Iterator[StampedFrame]:
        """See `Source`; at real pace a second of the scene takes a second."""
        began = ticks_ns() - max(0, self._after_ns)
        end_seconds = self._scene.duration_seconds or math.inf
        # A frame's time may have been rounded down. The small part added keeps it from being taken a second time.
        sequence = math.floor(self._after_ns / SECOND_NS * self._fps + 1e-6) + 1 if self._after_ns >= 0 else 0
        while sequence / self._fps < end_seconds:
            pts_ns = round(sequence / self._fps * SECOND_NS)
            if self.live:
                time.sleep(max(0, began + pts_ns - ticks_ns()) / SECOND_NS)
            utc_ns = check_time(self._scene.start_ns + pts_ns, f"the scene's frame {sequence}")
            image = self._scene.render(pts_ns / SECOND_NS)
            yield StampedFrame(image, utc_ns, pts_ns, ticks_ns() if self.live else 0, recorded=True)
            self._got_on()
            sequence += 1

    def close(self) -> None:
        """See `Source`."""


def _scene_of(url: str) -> Scene:
    try:
        return Scene.from_url(url)
    except YardError as exc:
        raise CaptureError(str(exc)) from exc
