"""`Answers`: the answers under way, and whose turn it is."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

from ..model.device_memory import device_memory
from ..refusal import refusal
from .answer import Answer
from .elsewhere import Elsewhere

_WAY_OUT = "lower retrieval.recall_tokens or model.window_tokens, or ask again when fewer answers run"
Key = tuple[bytes, str]


class Answers:
    """Clients take turns, and then each client's answers, each time for one step: who asks much waits for itself.

    One that fails ends with an error, and the others go on.

    The engine's thread takes steps; any thread adds and cancels.

    Args:
        on_ready: called from another thread when an answer that waited for work elsewhere can go on.
    """

    def __init__(self, on_ready: Callable[[], None]) -> None:
        self._on_ready = on_ready
        self._answers: dict[Key, Answer] = {}  # in the order of their turns
        self._waiting: dict[Key, Elsewhere[Any]] = {}
        self._turn = itertools.count()
        self._last_turns: dict[bytes, int] = {}  # of the clients that have answers here
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._answers)

    def add(self, key: Key, answer: Answer) -> None:
        """Takes an answer in."""
        with self._lock:
            self._answers[key] = answer
        self._on_ready()

    def cancel(self, key: Key) -> None:
        """Has an answer end at its next step."""
        with self._lock:
            answer = self._answers.get(key)  # once: the engine takes finished answers out meanwhile
            if answer is not None:
                answer.cancelled = True
        self._on_ready()

    def step(self) -> bool:
        """Gives the next answer that waits for nothing one step. Returns whether there was one."""
        with self._lock:
            ready = [key for key in self._answers if self._may_go_on(key)]
            if not ready:
                return False
            key = min(ready, key=lambda each: self._last_turns.get(each[0], -1))  # of equals the first
            answer = self._answers[key] = self._answers.pop(key)
            self._last_turns[key[0]] = next(self._turn)
        self._waiting.pop(key, None)
        if answer.cancelled and not answer.begun:
            self._take_out(key)
            answer.stop()
            return True
        try:
            with device_memory("the answer", _WAY_OUT):
                waits_for = next(answer.steps)
        except StopIteration:
            self._take_out(key)
        except Exception as exc:  # costs the one who asked an answer, and nobody else
            self._take_out(key)
            answer.emit(refusal(key[1], exc, "the answer"))
        else:
            if waits_for is not None:
                self._waiting[key] = waits_for
                waits_for.on_done(self._on_ready)
        return True

    def refuse_all(self, exc: Exception) -> None:
        """Ends those under way, when no step will be made any more."""
        with self._lock:
            answers, self._answers = self._answers, {}
            self._last_turns.clear()
        for key, answer in answers.items():
            answer.emit(refusal(key[1], exc, "the answer"))

    def _may_go_on(self, key: Key) -> bool:
        waits_for = self._waiting.get(key)
        return waits_for is None or waits_for.over or self._answers[key].cancelled

    def _take_out(self, key: Key) -> None:
        with self._lock:
            del self._answers[key]
            if not any(client == key[0] for client, _ in self._answers):
                del self._last_turns[key[0]]
