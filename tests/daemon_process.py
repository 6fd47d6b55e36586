"""A real daemon process for tests, started, asked, killed and started again."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from longwatch.clients import Client
from longwatch.clients.errors import ClientError
from longwatch.daemon.protocol import StatusReply
from longwatch.demo.process import free_ports


class DaemonProcess:
    """`python -m longwatch.daemon.main` on a configuration of its own, in a folder of its own."""

    def __init__(self, folder: Path, streams: str, memory: str = "") -> None:
        self.folder = folder
        port, events_port = free_ports(2)
        self.address, self.events_address = f"tcp://127.0.0.1:{port}", f"tcp://127.0.0.1:{events_port}"
        self.config = folder / "config.toml"
        self.config.write_text(
            f'[memory]\nfolder = "{folder}/store"\ncommit_seconds = 0.2\n{memory}\n'
            f'[server]\naddress = "{self.address}"\nevents_address = "{self.events_address}"\n'
            f"[model]\nthreads = 1\n{streams}"
        )
        self.log = folder / "daemon.log"
        self.client = Client(self.address, timeout_seconds=120)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # `__exit__` is not called, and nothing else would end it
            self.client.close()
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.client.close()
        if self._process is not None:
            try:
                code = self.stop()
            finally:
                self.kill()  # where it did not end in time
            assert code in (0, -signal.SIGKILL), f"the daemon ended with {code}: {self.log.read_text()[-4000:]}"

    def start(self, *wrapper: str) -> None:
        """Returns when it answers. A wrapper is a command that runs the one which follows it."""
        with self.log.open("ab") as log:
            command = [*wrapper, sys.executable, "-P", "-m", "longwatch.daemon.main", str(self.config)]
            self._process = subprocess.Popen(command, stderr=log)
        self.wait(lambda status: True)

    def limit_files(self, most_bytes: int) -> None:
        """Lets no file grow beyond a size, as if the disk were full; -1 takes the limit away."""
        assert self._process is not None
        _, hard = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (most_bytes, hard))

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_seconds: float = 120) -> int:
        """Sends SIGTERM, or another signal; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(timeout_seconds)

    def wait(self, until: Callable[[StatusReply], bool], timeout_seconds: float = 180) -> StatusReply:
        """Waits for a status of which something holds. The limit is generous, so that a busy machine keeps it."""
        deadline = time.monotonic() + timeout_seconds
        status = None
        while time.monotonic() < deadline:
            assert self._process is not None
            assert self._process.poll() is None, f"the daemon ended: {self.log.read_text()[-2000:]}"
            try:
                status = self.client.status()
            except ClientError:
                continue
            if until(status):
                return status
            time.sleep(0.1)
        raise AssertionError(f"not within {timeout_seconds} s; last {status}; log {self.log.read_text()[-2000:]}")
