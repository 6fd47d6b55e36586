"""A daemon as a process of its own, for as long as it is needed."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running_daemon(
    config: str, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon on a configuration text, stopped at the end; its log lies in `folder`."""
    file = folder / "config.toml"
    file.write_text(config)
    with (folder / "daemon.log").open("wb") as log:
        command = [sys.executable, "-P", "-m", "longwatch.daemon.main", str(file)]
        process = subprocess.Popen(command, stderr=log, env=environment)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody uses now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports
