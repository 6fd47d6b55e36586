"""`AbsentSource`: takes the place of a capture process if a stream is remembered but not watched."""

from __future__ import annotations

from .message import Message


class AbsentSource:
    """A source from which nothing comes. See `CaptureChild` for what the attributes mean."""

    state = "not watched"
    over = True
    last_error = ""
    frames = dropped = restarts = 0
    last_frame_ns = start_ns = 0

    def next(self, timeout_seconds: float) -> Message | None:
        """Nothing, at once."""
        return None

    def ask_whole(self) -> None:
        """There is nobody to ask."""

    def stop(self) -> None:
        """There is nothing to stop."""
