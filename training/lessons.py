"""`Lessons`: how often each kind of question is asked in training: the worse it goes, the more often."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

LEAST, MEMORY = 0.12, 0.985


class Lessons:
    """A running share of right answers for each kind, and the weights that follow from it.

    Args:
        kinds: the kinds of question. Each begins as if it had never been answered rightly.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        self._right = dict.fromkeys(kinds, 0.0)

    def weights(self) -> dict[str, float]:
        """How often to ask each kind. One that goes well is still asked sometimes."""
        return {kind: LEAST + 1 - right for kind, right in self._right.items()}

    def note(self, answers: Iterable[tuple[str, bool]]) -> None:
        """Updates the shares with the kinds that were asked and whether they were answered rightly."""
        for kind, right in answers:
            self._right[kind] += (1 - MEMORY) * (right - self._right[kind])
