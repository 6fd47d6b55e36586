"""`ShiftedClock`: a wrong time of day for a process, by Debian's faketime; its monotonic clock stays right."""

from __future__ import annotations

import os
from pathlib import Path


class ShiftedClock:
    """What a process that is started with `environment` takes for the time, and its children too."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self._library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
        self.shift(0)

    @property
    def trouble(self) -> str:
        """Why no clock can be shifted here; empty where it can."""
        return "" if self._library else "Debian's faketime is not installed"

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that is to see this clock."""
        return {
            **os.environ,
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # its name before version 0.9.10
        }

    def shift(self, seconds: int) -> None:
        """From now on the clock is so far ahead of the true one, or behind it."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        os.replace(fresh, self._file)
