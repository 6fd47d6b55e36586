"""`Order`: what another thread wants done on the engine's thread. It is answered once, and nobody waits for it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import ClassVar

from .errors import Busy
from .protocol import Reply
from .refusal import refusal
from .server.service import OnReply

_WAITING_AT_MOST = 64


class Order(ABC):
    """Done in two parts: `run` between two steps of the engine, then `finish`, which makes the reply.

    Args:
        on_reply: takes the one reply, on any thread.

    Attributes:
        long: `finish` takes so long that it gets a thread of its own.
    """

    long: ClassVar[bool] = False

    def __init__(self, request_id: str, on_reply: OnReply) -> None:
        self.request_id, self.on_reply = request_id, on_reply

    @abstractmethod
    def run(self) -> None:
        """Does what only the engine's thread may do. Whatever it raises becomes the reply."""

    @abstractmethod
    def finish(self) -> Reply:
        """Does the rest. Whatever it raises becomes the reply."""


class Orders:
    """A queue of orders: first come, first served. `put` is for any thread, `run_next` for the engine's.

    Args:
        on_order: called after each `put`, to wake the engine.
    """

    def __init__(self, on_order: Callable[[], None]) -> None:
        self._waiting: deque[Order] = deque()
        self._unfinished = 0
        self._lock = threading.Lock()  # over the count
        self._on_order = on_order

    def put(self, order: Order) -> None:
        """Takes an order and returns at once.

        Raises:
            Busy: too many are not finished yet.
        """
        with self._lock:
            if self._unfinished >= _WAITING_AT_MOST:
                raise Busy(f"{self._unfinished} orders are being carried out; try again in a moment")
            self._unfinished += 1
        self._waiting.append(order)
        self._on_order()

    def run_next(self) -> bool:
        """Carries out one order. Returns whether there was one. No error of an order ends the thread it runs on."""
        try:
            order = self._waiting.popleft()
        except IndexError:
            return False
        try:
            order.run()
        except Exception as exc:  # whoever gave the order gets the error as the reply
            self._reply(order, refusal(order.request_id, exc, "the order"))
            return True
        if not (order.long and self._finish_on_a_thread(order)):
            self._finish(order)
        return True

    def refuse_all(self, exc: Exception) -> None:
        """Answers all orders that wait with an error. For when no more orders will be carried out."""
        while self._waiting:
            order = self._waiting.popleft()
            self._reply(order, refusal(order.request_id, exc, "the order"))

    def _finish_on_a_thread(self, order: Order) -> bool:
        """Returns False if the machine has no thread left. The engine's own then has to do it."""
        try:
            threading.Thread(target=self._finish, args=(order,), name="order", daemon=True).start()
        except RuntimeError:
            return False
        return True

    def _finish(self, order: Order) -> None:
        try:
            reply = order.finish()
        except Exception as exc:
            reply = refusal(order.request_id, exc, "the order")
        self._reply(order, reply)

    def _reply(self, order: Order, reply: Reply) -> None:
        with self._lock:
            self._unfinished -= 1
        order.on_reply(reply)
