"""`Stopping`: whether the daemon was told to stop, and a way to end at once while it has nothing to finish."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopping:
    """Listens to the signals that stop a daemon. One a process, made on its main thread.

    Python would hear of a signal only when a library that loads or downloads comes back. So the kernel's message is
    read by a thread of its own.
    """

    def __init__(self) -> None:
        self.told = threading.Event()
        self._close: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._read, self._written = socket.socketpair()
        self._written.setblocking(False)
        signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
                signal.signal(number, lambda *_: self.told.set())
        threading.Thread(target=self._listen, name="signals", daemon=True).start()

    @contextmanager
    def at_once(self, close: Callable[[], None]) -> Iterator[None]:
        """While it lasts, a signal, or one that came before, ends the process, after `close`."""
        with self._lock:
            self._close = close
        if self.told.is_set():
            self._end()
        try:
            yield
        finally:
            with self._lock:
                self._close = None

    def _listen(self) -> None:
        while self._read.recv(1):
            self.told.set()
            self._end()

    def _end(self) -> None:
        with self._lock:
            if self._close is not None:
                self._close()
                sys.stderr.flush()
                os._exit(0)
