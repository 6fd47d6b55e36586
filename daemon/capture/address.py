"""What a source's address means, and how it may be shown: never with its password."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import CaptureError

_CREDENTIALS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s@]+@", re.IGNORECASE)
_NETWORK_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


def mask_credentials(text: str) -> str:
    """The text with the user and password of every address in it replaced by `***`."""
    return _CREDENTIALS.sub(r"\g<scheme>***@", text)


def kind_of(url: str) -> str:
    """`scene`, `network`, `webcam` or `file`.

    Raises:
        CaptureError: the scheme is none that can be read.
    """
    scheme = urlsplit(url).scheme.lower()
    if scheme == "scene":
        return "scene"
    if scheme in _NETWORK_PORTS:
        return "network"
    if url.isdigit() or url.startswith("/dev/video"):
        return "webcam"
    if scheme in ("", "file"):
        return "file"
    raise CaptureError(
        f"{mask_credentials(url)}: no source reads {scheme}://; use rtsp://, http://, scene://, a file or /dev/video0"
    )


def check_reachable(url: str, timeout_seconds: float) -> None:
    """Tries the host and port of a network address, or looks whether a file is there.

    Raises:
        CaptureError: nobody answers, or there is no file, in one sentence.
    """
    shown, kind = mask_credentials(url), kind_of(url)
    if kind == "file":
        path = Path(url.removeprefix("file://"))
        if not path.is_file():
            raise CaptureError(f"{shown}: there is no such file")
        if path.stat().st_size == 0:
            raise CaptureError(f"{shown}: the file is empty")
    if kind != "network":
        return
    parts = urlsplit(url)
    port = parts.port or _NETWORK_PORTS[parts.scheme.lower()]
    try:
        socket.create_connection((parts.hostname or "", port), timeout_seconds).close()
    except ConnectionRefusedError as exc:
        raise CaptureError(f"{shown}: the connection was refused; nothing listens on port {port}") from exc
    except TimeoutError as exc:
        raise CaptureError(f"{shown}: no answer within {timeout_seconds:g} s") from exc
    except OSError as exc:
        raise CaptureError(f"{shown}: the host cannot be reached ({exc.strerror})") from exc
