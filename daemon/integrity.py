"""`IntegrityCheck`: whether the daemon's account of what it holds in RAM is right, checked while it is idle."""

from __future__ import annotations

import time
from collections.abc import Callable

from .log import get_logger

_EVERY_SECONDS = 60.0
_log = get_logger("integrity")


class IntegrityCheck:
    """Runs some checks about once a minute, whenever its owner says that there is nothing else to do.

    A check that fails shows a mistake of ours. It is logged and counted, and ends nothing.

    Args:
        checks: each raises AssertionError with the numbers that do not add up. None of them reads the disk.
    """

    def __init__(self, *checks: Callable[[], None]) -> None:
        self._checks = checks
        self._due_at = time.monotonic() + _EVERY_SECONDS
        self.failures = 0

    def run_if_due(self) -> None:
        """Runs the checks if the last run was long enough ago."""
        if time.monotonic() >= self._due_at:
            self.run()
            self._due_at = time.monotonic() + _EVERY_SECONDS

    def run(self) -> None:
        """Runs all checks, also after one that failed."""
        for check in self._checks:
            try:
                check()
            except AssertionError as exc:
                self.failures += 1
                what = "the account of what is held in RAM is wrong; please report this"
                _log.error(what, error=str(exc), failures=self.failures)
