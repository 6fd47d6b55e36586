"""`VideoSource`: whatever FFmpeg or the webcam driver reads, through OpenCV.

This is the border where OpenCV's silence becomes our errors. Runs in the capture process and imports no torch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import cv2
import numpy as np

from ..errors import CaptureError
from .address import check_reachable, kind_of, mask_credentials, path_of
from .message import Begin
from .stamp import SECOND_NS, StampedFrame

_FRAMES_A_SECOND = 25.0  # where the stream does not say
_SEEK_MARGIN_NS = 5 * SECOND_NS
_LATE = 0.9  # of the time that a read may take
_CAMERA_THREADS = 2  # each one more holds back a frame, and its time of arrival would be wrong by so much


class VideoSource:
    """A camera, or a recording: a file, or a file on a web server. See `Source`.

    A recording's frames have the times that are written in it; a camera's have the time of their arrival, since a
    camera's own clock jumps and lies.

    Raises:
        CaptureError: it cannot be opened.
    """

    def __init__(self, begin: Begin) -> None:
        self._config, self._start_ns, self._after_ns = begin.config, begin.start_ns, begin.after_ns
        self._kind = kind_of(begin.config.url)
        self._shown = mask_credentials(begin.config.url)
        check_reachable(begin.config.url, begin.config.open_seconds)
        self._capture = self._open()
        if not self._capture.isOpened():
            raise CaptureError(f"{self._shown}: it is there, but cannot be read as video")
        self._recorded = self._kind == "file" or self._is_web_file()
        self.live = not self._recorded or begin.config.pace == "real"
        self._step_ns = int(SECOND_NS / begin.config.fps)
        self._frame_ns = int(SECOND_NS / (self._capture.get(cv2.CAP_PROP_FPS) or _FRAMES_A_SECOND))
        self._last_ns, self._shift_ns = -1, 0

    def __iter__(self) -> Iterator[StampedFrame]:
        """See `Source`. Every frame is grabbed, and only those that are due are made into pictures."""
        self._seek()
        began = time.monotonic_ns() - max(0, self._after_ns)
        due_ns = self._next_due(self._after_ns) if self._recorded and self._after_ns >= 0 else 0
        sequence = 0
        while (pts_ns := self._grab(began)) is not None:
            if pts_ns + self._frame_ns // 2 < due_ns:
                continue
            if self._recorded and self.live:
                time.sleep(max(0, began + pts_ns - time.monotonic_ns()) / SECOND_NS)
            read, image = self._capture.retrieve()
            if not read or image is None:
                continue
            utc_ns = self._start_ns + pts_ns if self._recorded else time.time_ns()
            yield StampedFrame(image.astype(np.uint8, copy=False), utc_ns, pts_ns, sequence)
            sequence += 1
            due_ns = self._next_due(pts_ns)
        if self._recorded and sequence == 0 and self._after_ns < 0:
            raise CaptureError(f"{self._shown}: it holds no frame that can be decoded")

    def close(self) -> None:
        """See `Source`."""
        self._capture.release()

    def _open(self) -> cv2.VideoCapture:
        config = self._config
        if self._kind == "webcam":
            return cv2.VideoCapture(path_of(config.url), cv2.CAP_V4L2)
        open_ms, read_ms = int(config.open_seconds * 1000), int(config.stall_seconds * 1000)
        options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, open_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, read_ms]
        if self._kind == "network":
            options += [cv2.CAP_PROP_N_THREADS, _CAMERA_THREADS]
            # Process-wide, and it replaces the default of TCP, which therefore stands in it again. Microseconds.
            socket_timeout = int(max(config.open_seconds, config.stall_seconds) * 1e6)
            os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"rtsp_transport;tcp|timeout;{socket_timeout}"
        return cv2.VideoCapture(path_of(config.url), cv2.CAP_FFMPEG, options)

    def _is_web_file(self) -> bool:
        """Whether a web address brings a file, whose length is known, and not a camera's endless stream."""
        return self._config.url.lower().startswith("http") and self._capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0

    def _seek(self) -> None:
        """Goes near the place where reading is to go on; OpenCV's seek is not exact, so a little before it."""
        if self._recorded and self._after_ns > 2 * _SEEK_MARGIN_NS:
            self._capture.set(cv2.CAP_PROP_POS_MSEC, (self._after_ns - _SEEK_MARGIN_NS) / 1e6)

    def _next_due(self, pts_ns: int) -> int:
        """When the next frame is wanted; the one nearest to it is taken, since times are rounded in a file."""
        return ((pts_ns + self._frame_ns // 2) // self._step_ns + 1) * self._step_ns

    def _grab(self, began: int) -> int | None:
        """Takes in the next frame and tells its time; None after a recording's last.

        Raises:
            CaptureError: a camera sends no more.
        """
        asked = time.monotonic()
        grabbed = self._capture.grab()
        waited = time.monotonic() - asked
        # Where no packet came in time, FFmpeg still hands out what its decoder held back: old frames, seconds late.
        if not self._recorded and waited > _LATE * self._config.stall_seconds:
            raise CaptureError(f"{self._shown}: no frame for {waited:.0f} s")
        if not grabbed and not self._recorded:
            raise CaptureError(f"{self._shown}: the stream broke off")
        if not grabbed:
            return None
        if not self._recorded:
            return time.monotonic_ns() - began
        written_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        if written_ns + self._shift_ns <= self._last_ns:  # no time of its own, or one that begins anew
            self._shift_ns = self._last_ns + self._frame_ns - written_ns
        self._last_ns = written_ns + self._shift_ns
        return self._last_ns
