"""`MessageQueue`: messages that wait to be encoded, limited in number and in bytes."""

from __future__ import annotations

import threading
from collections import deque

from ..capture.message import Frame, Message

_MOST_BYTES = 128 << 20


class MessageQueue:
    """First in, first out, between two threads.

    Args:
        most, most_bytes: how many messages may wait, and how large they may be together. A message that is larger
            than that by itself may wait if no other does.
    """

    def __init__(self, most: int, most_bytes: int = _MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._messages: deque[Message] = deque()
        self._bytes = 0
        self._changed = threading.Condition()

    def put(self, message: Message, timeout_seconds: float) -> bool:
        """Adds a message as soon as there is room. Returns whether there was in time."""
        size = _size(message)
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_room(size), timeout_seconds):
                return False
            self._messages.append(message)
            self._bytes += size
            return True

    def take(self) -> Message | None:
        """The oldest message, or None if there is none."""
        with self._changed:
            if not self._messages:
                return None
            message = self._messages.popleft()
            self._bytes -= _size(message)
            self._changed.notify()
            return message

    def _has_room(self, size: int) -> bool:
        return not self._messages or (len(self._messages) < self._most and self._bytes + size <= self._most_bytes)


def _size(message: Message) -> int:
    return len(message.pixels) + len(message.picture) if isinstance(message, Frame) else 0
