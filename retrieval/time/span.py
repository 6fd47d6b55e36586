"""`Span`: the time that a question is about. Knows nothing about blocks beyond when they begin and end."""

from __future__ import annotations

from typing import NamedTuple

SECOND_NS = 1_000_000_000


class Span(NamedTuple):
    """From `since_ns` to `until_ns`, both included; None is open."""

    since_ns: int | None = None
    until_ns: int | None = None

    def touches(self, start_ns: int, end_ns: int) -> bool:
        """Whether something that lasted from start to end lies in it, if only in part."""
        return (self.until_ns is None or start_ns <= self.until_ns) and (
            self.since_ns is None or end_ns >= self.since_ns
        )
