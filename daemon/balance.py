"""`Balance`: how the engine's time is shared while both answers and frames want it."""

from __future__ import annotations

FRAMES_SHARE = 0.25  # of that time, at least; the rest goes to people who wait for an answer
_MOST_SECONDS = 0.5  # that frames may save up


class Balance:
    """Frames get a share of the time, and all that answers leave over.

    If there is time for both, frames wait for one step of an answer at most. If there is not, frames are taken less
    often, so that people wait a few seconds and not half a minute.
    """

    def __init__(self) -> None:
        self._saved_seconds = 0.0

    @property
    def lets_frames_in(self) -> bool:
        """Whether frames may have a step now, though an answer wants one too."""
        return self._saved_seconds >= 0

    def note_answer(self, seconds: float) -> None:
        """An answer had a step."""
        saved = self._saved_seconds + seconds * FRAMES_SHARE / (1 - FRAMES_SHARE)
        self._saved_seconds = min(saved, _MOST_SECONDS)

    def note_frames(self, seconds: float) -> None:
        """Frames were encoded while an answer waited."""
        self._saved_seconds -= seconds

    def note_silence(self) -> None:
        """No answer had anything to do: frames owe nothing."""
        self._saved_seconds = 0.0
