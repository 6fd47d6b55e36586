"""`VideoSource`: whatever FFmpeg or the webcam driver reads, through OpenCV.

OpenCV says nothing when it fails; here that becomes our errors. Runs in the capture process and imports no torch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import cv2
import numpy as np

from ..errors import CaptureError
from . import ffmpeg
from .address import check_reachable, kind_of, mask_credentials, path_of, scheme_of
from .clock import PAUSE_NS
from .message import CaptureTask
from .stamp import SECOND_NS, StampedFrame, check_time, ticks_ns
from .written_times import WrittenTimes

_FRAMES_A_SECOND = 25.0  # if the stream does not say
_SEEK_MARGIN_NS = 5 * SECOND_NS
_RISING = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
_LATE = 0.9  # of the time that a read may take
_CAMERA_THREADS = 2  # each one more holds a frame back, and makes its time of arrival wrong by so much


class VideoSource:
    """A camera, or a recording: a file, or a file on a web server. See `Source`.

    A recording's frames have the times that are written in it. A camera's frames have the time of their arrival, since
    a camera's own clock jumps and lies.

    Raises:
        CaptureError: it cannot be opened.
    """

    def __init__(self, task: CaptureTask, on_progress: Callable[[], None] = lambda: None) -> None:
        self._config, self._start_ns, self._after_ns = task.config, task.start_ns, task.after_ns
        self._got_on = on_progress
        self._kind = kind_of(task.config.url)
        self._shown = mask_credentials(task.config.url)
        check_reachable(task.config.url, task.config.open_seconds)
        self._capture = self._open()
        self._recorded = self._kind == "file" or self._is_web_file()
        self.live = not self._recorded or task.config.pace == "real"
        self._step_ns = int(SECOND_NS / task.config.fps)
        self._frame_ns = int(SECOND_NS / self._frames_a_second())
        self._pause_ns = min(PAUSE_NS, int(task.config.stall_seconds * SECOND_NS / 2))
        self._times = WrittenTimes(self._frame_ns)

    def __iter__(self) -> Iterator[StampedFrame]:
        """See `Source`. Every frame is grabbed, but only those that are due are decoded into pictures."""
        self._seek()
        began, before_ns = ticks_ns() - max(0, self._after_ns), max(0, self._after_ns)
        due_ns = self._next_due(self._after_ns) if self._recorded and self._after_ns >= 0 else 0
        count = 0
        while (pts_ns := self._grab(began)) is not None:
            if self._recorded and pts_ns - before_ns > self._pause_ns:  # nobody waits for a pause
                began -= pts_ns - before_ns
            before_ns = max(before_ns, pts_ns)
            if pts_ns + self._frame_ns // 2 < due_ns:
                continue
            if self._recorded and self.live:
                self._wait_until(began + pts_ns)
            read, image = self._capture.retrieve()
            if not read or image is None:
                continue
            utc_ns = time.time_ns()
            if self._recorded:
                utc_ns = check_time(self._start_ns + pts_ns, f"{self._shown}: the time of frame {count}")
            arrived_ns = ticks_ns() if self.live else 0
            yield StampedFrame(image.astype(np.uint8, copy=False), utc_ns, pts_ns, arrived_ns, self._recorded)
            count += 1
            due_ns = self._next_due(pts_ns)
        if self._recorded and count == 0 and self._after_ns < 0:
            raise CaptureError(f"{self._shown}: it holds no frame that can be decoded")

    def close(self) -> None:
        """See `Source`."""
        self._capture.release()

    def _open(self) -> cv2.VideoCapture:
        capture = self._opened()
        if not capture.isOpened():
            raise CaptureError(f"{self._shown}: it is there, but cannot be read as video")
        return capture

    def _opened(self) -> cv2.VideoCapture:
        config = self._config
        if self._kind == "webcam":
            return cv2.VideoCapture(path_of(config.url), cv2.CAP_V4L2)
        open_ms, read_ms = int(config.open_seconds * 1000), int(config.stall_seconds * 1000)
        options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, open_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, read_ms]
        if self._kind == "network":
            options += [cv2.CAP_PROP_N_THREADS, _CAMERA_THREADS]
        silent_seconds = max(config.open_seconds, config.stall_seconds)
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = ffmpeg.options(scheme_of(config.url), silent_seconds)
        path = path_of(config.url)  # with "file:", so that no file's name is taken for a protocol
        return cv2.VideoCapture(f"file:{path}" if self._kind == "file" else path, cv2.CAP_FFMPEG, options)

    def _is_web_file(self) -> bool:
        """Whether a web address gives a file, whose length is known, and not a camera's endless stream."""
        return self._config.url.lower().startswith("http") and self._capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0

    def _frames_a_second(self) -> float:
        said = float(self._capture.get(cv2.CAP_PROP_FPS))
        return said if 0.001 < said < 1000 else _FRAMES_A_SECOND

    def _seek(self) -> None:
        """Goes a little before the place where reading is to go on, since OpenCV's seek is not exact.

        If it goes too far, or if times may start over within the file, everything up to that place is read.
        """
        if not (self._recorded and self._after_ns > 2 * _SEEK_MARGIN_NS and self._times_rise()):
            return
        self._capture.set(cv2.CAP_PROP_POS_MSEC, (self._after_ns - _SEEK_MARGIN_NS) / 1e6)
        if self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6 > self._after_ns:
            self._capture.release()
            self._capture = self._open()

    def _times_rise(self) -> bool:
        """Whether times always rise in this kind of file. In a transport stream, for example, they may start over."""
        return urlsplit(self._config.url).path.lower().endswith(_RISING)

    def _wait_until(self, ticks: int) -> None:
        """Keeps real pace, and says now and then that it gets on."""
        while (left_ns := ticks - ticks_ns()) > 0:
            self._got_on()
            time.sleep(min(left_ns, SECOND_NS) / SECOND_NS)

    def _next_due(self, pts_ns: int) -> int:
        """When the next frame is wanted. The one nearest to it is taken, since times in a file are rounded."""
        return ((pts_ns + self._frame_ns // 2) // self._step_ns + 1) * self._step_ns

    def _grab(self, began: int) -> int | None:
        """Grabs the next frame and returns its time; None after a recording's last.

        Raises:
            CaptureError: a camera sends no more.
        """
        asked = time.monotonic()
        grabbed = self._capture.grab()
        waited = time.monotonic() - asked
        # If no packet came in time, FFmpeg still hands out what its decoder held back: old frames, seconds late.
        if not self._recorded and waited > _LATE * self._config.stall_seconds:
            raise CaptureError(f"{self._shown}: no frame for {waited:.0f} s")
        if not grabbed and not self._recorded:
            raise CaptureError(f"{self._shown}: the stream broke off")
        if not grabbed:
            return None
        if not self._recorded:
            return ticks_ns() - began
        self._got_on()
        return self._times.take(self._capture.get(cv2.CAP_PROP_POS_MSEC))
