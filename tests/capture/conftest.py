"""Fixtures for watching a source through a real capture process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from longwatch.daemon.capture.child import CaptureChild
from longwatch.daemon.capture.message import Message
from longwatch.daemon.capture.settings import SourceConfig

Watch = Callable[..., CaptureChild]


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Makes children from the fields of a `SourceConfig`, and stops them after the test."""
    children: list[CaptureChild] = []

    def make(url: str, **options: Any) -> CaptureChild:
        children.append(CaptureChild(SourceConfig(url=url, **options)))
        return children[-1]

    yield make
    for child in children:
        child.stop()


def take(child: CaptureChild, until: Callable[[list[Message]], object], seconds: float = 120.0) -> list[Message]:
    """The child's messages until a condition holds, which is asked after each message and each short wait.

    The limit is generous, so that a busy machine keeps it.
    """
    messages: list[Message] = []
    deadline = time.monotonic() + seconds
    while not until(messages):
        assert time.monotonic() < deadline, f"{child.state}: {child.last_error}; got {len(messages)} messages"
        message = child.next(0.1)
        if message is not None:
            messages.append(message)
    return messages
