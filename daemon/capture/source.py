"""`Source`: stamped frames from a camera, a file, an HTTP stream or the rendered scene.

This is the border where OpenCV's silence becomes our errors. Runs in the capture process and imports no torch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import CaptureError
from .address import check_reachable, kind_of, mask_credentials
from .scene import Scene
from .settings import SourceConfig

SECOND_NS = 1_000_000_000


class StampedFrame(NamedTuple):
    """A frame and when it was: BGR `[H, W, 3]`, UTC, the stream's own time, and its number."""

    image: NDArray[np.uint8]
    utc_ns: int
    pts_ns: int
    sequence: int


class Source(Protocol):
    """Frames at the configured rate, in order.

    `live` says that frames come whether they are taken or not, so that the newest is the one to take; otherwise
    every frame is to be taken and reading waits.
    """

    live: bool

    def __iter__(self) -> Iterator[StampedFrame]:
        """Frames until the end. A live source that ends has broken.

        Raises:
            CaptureError: it cannot be read any more.
        """

    def close(self) -> None:
        """Lets the device go."""


def open_source(config: SourceConfig) -> Source:
    """Opens what the address names.

    Raises:
        CaptureError: it cannot be opened, in one sentence with masked credentials.
    """
    if kind_of(config.url) == "scene":
        return SceneSource(config)
    return VideoSource(config)


class SceneSource:
    """The rendered yard."""

    def __init__(self, config: SourceConfig) -> None:
        self._scene = Scene.from_url(config.url)
        self._fps = config.fps
        self.live = config.pace == "real"
        self._began = time.time_ns()

    def __iter__(self) -> Iterator[StampedFrame]:
        """See `Source`; at real pace a second of the scene takes a second."""
        sequence = 0
        while self._scene.duration_seconds is None or sequence / self._fps < self._scene.duration_seconds:
            pts_ns = int(sequence / self._fps * SECOND_NS)
            if self.live:
                time.sleep(max(0, self._began + pts_ns - time.time_ns()) / SECOND_NS)
            image = self._scene.render(pts_ns / SECOND_NS)
            yield StampedFrame(image, self._scene.start_ns + pts_ns, pts_ns, sequence)
            sequence += 1

    def close(self) -> None:
        """See `Source`."""


class VideoSource:
    """Whatever FFmpeg or the webcam driver reads, through OpenCV."""

    def __init__(self, config: SourceConfig) -> None:
        self._config = config
        self._kind = kind_of(config.url)
        self._shown = mask_credentials(config.url)
        self.live = self._kind in ("network", "webcam") or config.pace == "real"
        check_reachable(config.url, config.open_seconds)
        self._capture = self._open()
        if not self._capture.isOpened():
            raise CaptureError(f"{self._shown}: it is there, but cannot be read as video")
        self._start_ns = _start_ns(config)
        self._began = time.time_ns()

    def __iter__(self) -> Iterator[StampedFrame]:
        """See `Source`. Every frame is grabbed, and only those that are due are decoded to pictures."""
        step_ns, due_ns, sequence = int(SECOND_NS / self._config.fps), 0, 0
        frame_ns = int(SECOND_NS / (self._capture.get(cv2.CAP_PROP_FPS) or 25.0))
        grabbed = 0
        while self._capture.grab():
            pts_ns = self._pts_ns(grabbed, frame_ns)
            grabbed += 1
            if pts_ns < due_ns:
                continue
            if self._kind == "file" and self.live:
                time.sleep(max(0, self._began + pts_ns - time.time_ns()) / SECOND_NS)
            read, image = self._capture.retrieve()
            if not read or image is None:
                continue
            utc_ns = self._start_ns + pts_ns if self._kind == "file" else time.time_ns()
            yield StampedFrame(image, utc_ns, pts_ns, sequence)
            sequence += 1
            due_ns = max(due_ns + step_ns, pts_ns - step_ns)
        if sequence == 0:
            raise CaptureError(f"{self._shown}: it holds no frame that can be decoded")

    def close(self) -> None:
        """See `Source`."""
        self._capture.release()

    def _open(self) -> cv2.VideoCapture:
        if self._kind == "webcam":
            number = self._config.url.removeprefix("/dev/video")
            return cv2.VideoCapture(int(number), cv2.CAP_V4L2)
        # Process-wide, and it replaces the default of TCP, which therefore stands in it again.
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "rtsp_transport;tcp"
        timeout = int(self._config.open_seconds * 1000)
        stall = int(self._config.stall_seconds * 1000)
        url = self._config.url.removeprefix("file://")
        options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout, cv2.CAP_PROP_READ_TIMEOUT_MSEC, stall]
        return cv2.VideoCapture(url, cv2.CAP_FFMPEG, options)

    def _pts_ns(self, grabbed: int, frame_ns: int) -> int:
        """A file's own time of the grabbed frame; a live source's by arrival, since a camera's may jump."""
        if self._kind != "file":
            return time.time_ns() - self._began
        position = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        return int(position * 1e6) if position > 0 or grabbed == 0 else grabbed * frame_ns


def _start_ns(config: SourceConfig) -> int:
    if not config.start:
        return time.time_ns()
    try:
        start = datetime.fromisoformat(config.start)
    except ValueError as exc:
        raise CaptureError(f"start: {config.start!r} is no time; write it as 2026-03-02T14:00:00") from exc
    return int(start.replace(tzinfo=start.tzinfo or UTC).timestamp()) * SECOND_NS
