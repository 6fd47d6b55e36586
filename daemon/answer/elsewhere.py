"""`Elsewhere`: work on another thread that an answer waits for, though not for ever, while the engine goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Generic, TypeVar

from ..errors import QuestionRefused

_T = TypeVar("_T")
THREADS = 2


class Elsewhere(Generic[_T]):
    """One piece of work, begun at once.

    Args:
        work: what is done; it may raise.
        seconds: how long it is waited for, the time in the queue included.
        too_long: the sentence for the client where it takes longer.
    """

    def __init__(self, work: Callable[[], _T], *, seconds: float, too_long: str) -> None:
        self._future: Future[_T] = threads().submit(work)
        self._until, self._too_long = time.monotonic() + seconds, too_long

    @property
    def over(self) -> bool:
        """Whether it is done, or has taken too long."""
        return self._future.done() or time.monotonic() >= self._until

    def on_done(self, told: Callable[[], None]) -> None:
        """Has somebody told when it is done; called on the thread that did it."""
        self._future.add_done_callback(lambda _: told())

    def result(self) -> Generator[Elsewhere[_T], None, _T]:
        """Its result, or what it raised; gives itself to whoever takes the steps until it is there.

        Raises:
            QuestionRefused: it took too long.
        """
        while not self.over:
            yield self
        if not self._future.done():
            self._future.cancel()
            raise QuestionRefused(self._too_long)
        return self._future.result()


@cache
def threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, "elsewhere")
