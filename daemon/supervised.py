"""`SupervisedThread`: a thread that can be started again when it has died."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable


class SupervisedThread:
    """Work that goes on for as long as the daemon runs.

    Its owner looks at `alive` about once a second, and calls `start` again when the thread has died. That only
    happens by a mistake of ours.

    Args:
        name: shown in stack traces.
        work: all that the thread does. It returns when its owner has told it, in a way of its own, to end.
    """

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._name, self._work = name, work
        self._thread: threading.Thread | None = None

    @property
    def begun(self) -> bool:
        """Whether it was ever started."""
        return self._thread is not None

    @property
    def alive(self) -> bool:
        """Whether it runs now."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def stack(self) -> str:
        """The lines of code in which it is now; empty when it does not run."""
        frame = None if self._thread is None else sys._current_frames().get(self._thread.ident or 0)
        return "" if frame is None else "".join(traceback.format_stack(frame))

    def start(self) -> None:
        """Starts the work, or starts it again. Does nothing while it runs.

        Raises:
            RuntimeError: the machine has no thread left. Nothing has changed.
        """
        if not self.alive:
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            thread.start()
            self._thread = thread

    def join(self, timeout_seconds: float) -> None:
        """Waits until the thread has ended, or until the time is over. Returns at once if it was never started."""
        if self._thread is not None:
            self._thread.join(timeout_seconds)
