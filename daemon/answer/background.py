"""`BackgroundWork`: work on another thread for which an answer waits, though not for ever, while the engine goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Generic, TypeVar

from ..errors import QuestionRefused

_T = TypeVar("_T")
THREADS = 2


class BackgroundWork(Generic[_T]):
    """One piece of work, begun at once.

    Args:
        work: may raise.
        seconds: how long the answer waits for it, the time in the queue included.
        too_long: the sentence for the client if it takes longer.
    """

    def __init__(self, work: Callable[[], _T], *, seconds: float, too_long: str) -> None:
        self._future: Future[_T] = threads().submit(work)
        self._until, self._too_long = time.monotonic() + seconds, too_long

    @property
    def over(self) -> bool:
        """Whether it is done, or has taken too long."""
        return self._future.done() or time.monotonic() >= self._until

    def call_when_done(self, on_done: Callable[[], None]) -> None:
        """Has a function called when it is done, on the thread that did it."""
        self._future.add_done_callback(lambda _: on_done())

    def result(self) -> Generator[BackgroundWork[_T], None, _T]:
        """Its result, or what it raised. Until then it yields itself to whoever takes the answer's steps.

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
    """The threads that do it."""
    return ThreadPoolExecutor(THREADS, "background")
