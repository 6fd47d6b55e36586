"""`Balance`: how the engine's time is shared while both answers and frames want it."""

from __future__ import annotations

FRAMES_SHARE = 0.25  # of that time, at least; all of the rest goes to people who wait
_MOST_SECONDS = 0.5  # that frames may have saved up


class Balance:
    """Frames have a share of the time; what answers leave over they have too.

    Where there is time enough, frames wait for a step of an answer and no longer. Where there is not, cameras are
    looked at less often, as whenever nobody can follow them, and people wait a few seconds and not half a minute.
    """

    def __init__(self) -> None:
        self._saved_seconds = 0.0

    @property
    def frames_may(self) -> bool:
        """Whether it is the frames' turn, though an answer wants one too."""
        return self._saved_seconds >= 0

    def answers_took(self, seconds: float) -> None:
        """An answer made a step."""
        saved = self._saved_seconds + seconds * FRAMES_SHARE / (1 - FRAMES_SHARE)
        self._saved_seconds = min(saved, _MOST_SECONDS)

    def frames_took(self, seconds: float) -> None:
        """Frames were encoded while an answer waited."""
        self._saved_seconds -= seconds

    def nobody_asked(self) -> None:
        """No answer had anything to do: nothing is owed."""
        self._saved_seconds = 0.0
