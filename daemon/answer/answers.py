"""`Answers`: the answers under way, and whose turn it is."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

from ..model.device_memory import device_memory
from ..refusal import refusal
from .answer import Answer
from .background import BackgroundWork

_WAY_OUT = "lower retrieval.recall_tokens or model.window_tokens, or ask again when fewer answers run"
Key = tuple[bytes, str]


class Answers:
    """Takes one step of one answer at a time. Clients take turns, and so do the answers of one client.

    So a client with many questions waits for its own, and the others don't. An answer that fails ends with an error,
    and the others go on. The engine's thread takes the steps; any thread adds and cancels.

    Args:
        on_ready: called from another thread when an answer that waited for background work can go on.
    """

    def __init__(self, on_ready: Callable[[], None]) -> None:
        self._on_ready = on_ready
        self._answers: dict[Key, Answer] = {}  # the one whose last turn is longest ago first
        self._waiting: dict[Key, BackgroundWork[Any]] = {}
        self._turn = itertools.count()
        self._last_turns: dict[bytes, int] = {}  # of each client with answers here, the number of its last turn
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._answers)

    def add(self, key: Key, answer: Answer) -> None:
        """Takes an answer in."""
        with self._lock:
            self._answers[key] = answer
        self._on_ready()

    def cancel(self, key: Key) -> None:
        """Ends an answer at its next step."""
        with self._lock:
            answer = self._answers.get(key)  # once: the engine takes finished answers out meanwhile
            if answer is not None:
                answer.cancel()
        self._on_ready()

    def step(self) -> bool:
        """Takes a step of the next answer that waits for nothing. Returns whether there was one."""
        turn = self._next_turn()
        if turn is None:
            return False
        key, answer = turn
        self._waiting.pop(key, None)
        if answer.cancelled and not answer.begun:
            self._take_out(key, answer)
            answer.stop()
        else:
            self._step(key, answer)
        return True

    def _next_turn(self) -> tuple[Key, Answer] | None:
        """The answer whose turn it is, which then goes behind all others; None where none can go on."""
        with self._lock:
            ready = [key for key in self._answers if self._may_go_on(key)]
            if not ready:
                return None
            # The client whose last turn is longest ago; of its answers the first, which has waited longest.
            key = min(ready, key=lambda each: self._last_turns.get(each[0], -1))
            answer = self._answers[key] = self._answers.pop(key)
            self._last_turns[key[0]] = next(self._turn)
        return key, answer

    def _step(self, key: Key, answer: Answer) -> None:
        try:
            with device_memory("the answer", _WAY_OUT):
                waits_for = next(answer.steps)
        except StopIteration:
            self._take_out(key, answer)
        except Exception as exc:  # only the client that asked is to suffer
            self._take_out(key, answer)
            answer.on_reply(refusal(key[1], exc, "the answer"))
        else:
            if waits_for is not None:
                self._waiting[key] = waits_for
                waits_for.call_when_done(self._on_ready)

    def refuse_all(self, exc: Exception) -> None:
        """Ends all answers under way, because the engine takes no more steps."""
        with self._lock:
            answers, self._answers = self._answers, {}
            self._last_turns.clear()
        for key, answer in answers.items():
            answer.on_reply(refusal(key[1], exc, "the answer"))

    def _may_go_on(self, key: Key) -> bool:
        waits_for = self._waiting.get(key)
        return waits_for is None or waits_for.over or self._answers[key].cancelled

    def _take_out(self, key: Key, answer: Answer) -> None:
        """Another may be there by now: whoever hears the end of an answer can ask again under the same id."""
        with self._lock:
            if self._answers.get(key) is answer:
                del self._answers[key]
            if not any(client == key[0] for client, _ in self._answers):
                del self._last_turns[key[0]]
