"""`Shares`: which answers run for whom, and how many more a client may have."""

from __future__ import annotations

from collections import Counter

from ..errors import Busy, QuestionRefused


class Shares:
    """The answers under way, by client. All connections with the same key are one client.

    No client can take all places. Alone it may have half of them; the more others have answers under way, the fewer,
    but always one. So a place is left for the next client, unless there are more clients than places.

    Args:
        places: answers at once, for all clients together.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._running: dict[bytes, set[str]] = {}  # by connection
        self._owners: dict[bytes, str] = {}  # the key of each of these; empty without keys

    def __len__(self) -> int:
        return sum(map(len, self._running.values()))

    def check(self, client: bytes, request_id: str, key: str = "") -> None:
        """Checks that a client may have one more answer.

        Raises:
            Busy: all places are taken, or all that the client may have.
            QuestionRefused: it already has one of this id.
        """
        if self.has(client, request_id):
            raise QuestionRefused(f"request {request_id} is being answered already")
        if len(self) >= self._places:
            raise Busy(f"{self._places} questions are being answered; ask again in a moment")
        by_owner = Counter[str | bytes]()
        for each, running in self._running.items():
            by_owner[self._owners[each] or each] += len(running)
        mine = by_owner.pop(key or client, 0)
        if mine >= max(1, self._places // (len(by_owner) + 2)):
            raise Busy(
                f"{mine} questions of yours are being answered, as many as you may have now; ask again in a moment"
            )

    def add(self, client: bytes, request_id: str, key: str = "") -> None:
        """Notes that an answer is under way."""
        self._owners[client] = key
        self._running.setdefault(client, set()).add(request_id)

    def has(self, client: bytes, request_id: str) -> bool:
        """Whether an answer is still under way."""
        return request_id in self._running.get(client, ())

    def end(self, client: bytes, request_id: str) -> None:
        """Notes that an answer has ended."""
        mine = self._running.get(client, set())
        mine.discard(request_id)
        if not mine:
            self.end_all(client)

    def end_all(self, client: bytes) -> set[str]:
        """Notes that all answers of a client have ended. Returns their ids."""
        self._owners.pop(client, None)
        return self._running.pop(client, set())
