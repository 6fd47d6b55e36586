"""`StopSignals`: whether a signal told the daemon to stop, and a way to end at once while it has nothing to finish."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopSignals:
    """Listens to the signals that stop a daemon. One for each process, made on its main thread.

    While a library loads or downloads, Python itself would hear of a signal only afterwards. So a thread of its own
    reads the kernel's message.

    Attributes:
        came: set by the first signal.
    """

    def __init__(self) -> None:
        self.came = threading.Event()
        self._close: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._read, self._written = socket.socketpair()
        self._written.setblocking(False)
        signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup has it ignored
                signal.signal(number, lambda *_: self.came.set())
        threading.Thread(target=self._listen, name="signals", daemon=True).start()

    @contextmanager
    def end_at_once(self, close: Callable[[], None]) -> Iterator[None]:
        """Inside of it a signal, or one that came before, calls `close` and ends the process."""
        with self._lock:
            self._close = close
        if self.came.is_set():
            self._end()
        try:
            yield
        finally:
            with self._lock:
                self._close = None

    def _listen(self) -> None:
        while self._read.recv(1):
            self.came.set()
            self._end()

    def _end(self) -> None:
        with self._lock:
            if self._close is not None:
                self._close()
                sys.stderr.flush()
                os._exit(0)
