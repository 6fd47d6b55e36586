"""`Steps`: work in short steps, which yields between them so that others have turns, and returns its result."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TypeAlias, TypeVar

_T = TypeVar("_T")
Steps: TypeAlias = Generator[None, None, _T]
STEP_SECONDS = 0.05  # a step that has lasted so long ends at the next place where it can


def finished(steps: Generator[object, None, _T]) -> _T:
    """All steps in a row, where nobody waits for a turn. Returns the result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _T = end.value
            return result


class Pace:
    """How long the present step has lasted. `begin` starts the count again and belongs behind each `yield`."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A step begins."""
        self._began = time.perf_counter()

    @property
    def over(self) -> bool:
        """Whether the step has lasted long enough."""
        return time.perf_counter() - self._began >= STEP_SECONDS
