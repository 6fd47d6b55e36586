"""The terminal as commands see it: what is printed to it, and how a command ends that cannot go on."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import NoReturn

from rich.console import Console

_UNCUT = 10_000  # columns, where no terminal says how many it has


def make_console(*, stderr: bool = False) -> Console:
    """A console that prints text as it is, and to a file or a pipe without a cut.

    Addresses and questions hold brackets and colons: rich must not take them for its own markup.
    """
    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    width = None if is_terminal else _UNCUT
    return Console(markup=False, emoji=False, highlight=False, stderr=stderr, width=width)


out = make_console()
err = make_console(stderr=True)


def fail(sentence: str, code: int) -> NoReturn:
    """Ends the program with one sentence and an exit code."""
    print(f"longwatch: {sentence}", file=sys.stderr)
    sys.exit(code)


def show_busy(doing: str) -> AbstractContextManager[object]:
    """A sign of life on a terminal, gone afterwards."""
    return err.status(doing) if err.is_terminal else nullcontext()
