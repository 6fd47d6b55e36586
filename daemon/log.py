"""Structured logs: one line an event, on stderr, with every credential masked."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog

from .capture.address import mask_credentials


def _mask(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: _masked(value) for key, value in event.items()}


def _masked(value: Any) -> Any:
    """The value without credentials, at any depth. What is not a plain value becomes text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {mask_credentials(str(key)): _masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item) for item in value]
    return mask_credentials(str(value))


class _Lossy:
    """Standard error. A line that cannot be written, say because the disk is full, is lost and ends no thread."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()


def set_up(*, level: str, as_json: bool) -> None:
    """Sets up the logging of the whole process.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        as_json: one JSON object a line; else columns for people.
    """
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _mask,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Lossy())),
        cache_logger_on_first_use=False,
    )


def get_logger(part: str) -> Any:
    """A logger that says which part of the daemon a line is from."""
    return structlog.get_logger(part=part)
