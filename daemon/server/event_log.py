"""`EventLog`: numbers events and keeps the newest, for clients that missed some."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterator

import msgspec

from ..protocol import Event, EventsReply

EVENTS_KEPT = 10_000
_EVENTS_AT_ONCE = 1_000


class EventLog:
    """`add` is for any thread, all else for the server's."""

    def __init__(self) -> None:
        self._new: deque[Event] = deque()  # without a number
        self._kept: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._number = time.time_ns() // 1000  # above all numbers of earlier runs of the daemon

    def add(self, stream: str, kind: str, start_ns: int, end_ns: int, text: str) -> None:
        """Takes an event in. It has no number until `take_new`."""
        self._new.append(Event(number=0, stream=stream, kind=kind, start_ns=start_ns, end_ns=end_ns, text=text))

    def take_new(self) -> Iterator[Event]:
        """The events since the last call, each with the next number. They are kept from now on."""
        while self._new:
            self._number += 1
            event = msgspec.structs.replace(self._new.popleft(), number=self._number)
            self._kept.append(event)
            yield event

    def since(self, number: int, request_id: str) -> EventsReply:
        """The next events after a number, as many as one reply holds. Whoever wants more asks again."""
        known_from = self._kept[0].number if self._kept else self._number + 1
        first = max(0, number + 1 - known_from)  # numbers have no holes
        events = list(itertools.islice(self._kept, first, first + _EVENTS_AT_ONCE))
        return EventsReply(request_id=request_id, events=events, newest=self._number, lost=number + 1 < known_from)
