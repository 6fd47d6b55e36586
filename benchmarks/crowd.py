"""`Crowd`: clients that ask all along and one that wants to know how the daemon is, in a process of their own."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from longwatch.clients import Client
from longwatch.clients.errors import ClientError, Refused

QUESTIONS = (
    "did a red car appear?",
    "what happened?",
    "is the door open now?",
    "who left the bag?",
    "how many vans came?",
)
STATUS_SECONDS = 0.1
_TIMEOUT_SECONDS = 120.0
_RETRY_SECONDS = 0.2


class Wait(NamedTuple):
    """How long somebody waited.

    Attributes:
        what: `answer`, until its first words came, however often it was refused as busy before; or `status`.
        at: when it began, by the monotonic clock, which is the same in every process.
        error: what came instead, or empty.
    """

    what: str
    at: float
    seconds: float
    refused: int = 0
    error: str = ""


class Crowd:
    """Asks from `start` on until the end of the context; the process is there before.

    Args:
        streams: whom the questions are about, in rotation.
        askers: how many ask at once, each the next question as soon as one is answered.
    """

    def __init__(self, address: str, streams: Sequence[str], askers: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._begin, self._end = spawn.Event(), spawn.Event()
        self._ours, theirs = spawn.Pipe()
        arguments = (address, list(streams), askers, self._begin, self._end, theirs)
        self._process = spawn.Process(target=_ask_and_look, args=arguments, daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._end.set()
        self._begin.set()
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.kill()

    def start(self) -> None:
        """Everybody begins."""
        self._begin.set()

    def stop(self) -> list[Wait]:
        """Returns all waits, once every question that was asked is answered."""
        self._end.set()
        if not self._ours.poll(2 * _TIMEOUT_SECONDS):
            raise SystemExit("the clients did not come to their end")
        waits: list[Wait] = self._ours.recv()
        return waits


def _ask_and_look(address: str, streams: list[str], askers: int, begin: Any, end: Any, pipe: Any) -> None:
    """The process's life."""
    waits: list[Wait] = []  # appended to by every thread
    threads = [threading.Thread(target=_look, args=(address, end, waits))]
    threads += [threading.Thread(target=_ask, args=(address, streams, n, askers, end, waits)) for n in range(askers)]
    begin.wait()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.send(waits)


def _look(address: str, end: Any, waits: list[Wait]) -> None:
    with Client(address, timeout_seconds=_TIMEOUT_SECONDS) as client:
        while not end.is_set():
            began, error = time.monotonic(), ""
            try:
                client.status()
            except ClientError as exc:
                error = str(exc)
            waits.append(Wait("status", began, time.monotonic() - began, error=error))
            time.sleep(STATUS_SECONDS)


def _ask(address: str, streams: list[str], number: int, askers: int, end: Any, waits: list[Wait]) -> None:
    turn = number
    with Client(address, timeout_seconds=_TIMEOUT_SECONDS) as client:
        while not end.is_set():
            waits.append(_ask_once(client, QUESTIONS[turn % len(QUESTIONS)], streams[turn % len(streams)], end))
            turn += askers


def _ask_once(client: Client, question: str, stream: str, end: Any) -> Wait:
    began, refused = time.monotonic(), 0
    while True:
        try:
            answer = client.ask_stream(question, stream=stream, pictures=False)
            next(answer)
            seconds = time.monotonic() - began
            for _ in answer:
                pass
        except Refused as exc:
            if exc.code == "busy" and not end.is_set():
                refused += 1
                time.sleep(_RETRY_SECONDS)
                continue
            return Wait("answer", began, time.monotonic() - began, refused, str(exc))
        except ClientError as exc:
            return Wait("answer", began, time.monotonic() - began, refused, str(exc))
        return Wait("answer", began, seconds, refused)
