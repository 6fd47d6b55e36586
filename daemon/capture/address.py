"""The address of a source: what it means, and how it may be shown, which is never with its password."""

from __future__ import annotations

import os
import re
import socket
import stat
import sys
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from ..errors import CaptureError

_WORD = re.compile(r"\S+")
_NAMED = re.compile(r"[^/?#@:]+:")  # a user, before a password
_HOST_PART = re.compile(r"[^/?#]*")
_QUERY = re.compile(r"(?<=[?&])(?P<key>user\w*|usr|pass\w*|pwd|token|auth|key)=[^&\s]*", re.IGNORECASE)
_SHOWN_CHARACTERS = 500
_VIDEO_MAJOR = 81  # Linux's number for video devices
_NETWORK_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


def mask_credentials(text: str) -> str:
    """The text with the user and password of every address in it replaced by `***`, in front of the host or as keys.

    Takes time in proportion to the text's length, since strangers may have written it.
    """
    if "@" in text:
        text = _WORD.sub(lambda word: _without_users(word[0]), text)
    return _QUERY.sub(r"\g<key>=***", text)


def in_short(text: str) -> str:
    """As `mask_credentials`, without the end of a long text.

    Masking comes first: in an address that was cut off, a password could not be recognised.
    """
    masked = mask_credentials(text)
    return masked if len(masked) <= _SHOWN_CHARACTERS else f"{masked[:_SHOWN_CHARACTERS]}…"


def _without_users(word: str) -> str:
    """Masks the users in a word.

    A password may hold an unescaped "@" or "/". So all up to the last "@" goes: too much rather than too little.
    """
    kept, done, last = [], 0, word.rfind("@")
    begin = word.find("://") + 3
    while 3 <= begin <= last:
        named = _NAMED.match(word, begin)
        host_part = _HOST_PART.match(word, begin)
        assert host_part is not None, "it may be empty"
        end = last if named and named.end() <= last else word.rfind("@", begin, host_part.end())
        if end >= 0:
            kept += [word[done:begin], "***"]
            done = end
        begin = word.find("://", max(begin, done)) + 3
    return "".join([*kept, word[done:]])


def kind_of(url: str) -> str:
    """`scene`, `network`, `webcam` or `file`.

    Raises:
        CaptureError: no source reads this scheme, or a network address names no host and port.
    """
    if url.isdigit() or url.startswith("/dev/"):
        return "webcam"
    scheme = scheme_of(url)
    if scheme in ("scene", "file"):
        return scheme
    if scheme in _NETWORK_PORTS:
        _network_parts(url)
        return "network"
    raise CaptureError(
        f"{mask_credentials(url)}: no source reads {scheme}://; use rtsp://, http://, scene://, a file or /dev/video0"
    )


def scheme_of(url: str) -> str:
    """`rtsp`, `http` …, in small letters; `file` if there is none."""
    return url.partition("://")[0].lower() if "://" in url else "file"


def path_of(url: str) -> str:
    """The path that a file's or a webcam's address means."""
    if url.isdigit():
        return f"/dev/video{url}"
    return unquote(url.removeprefix("file://")) if url.startswith("file://") else url


def check_reachable(url: str, timeout_seconds: float) -> None:
    """Tries the host and port of a network address, or checks that a file or device is there and may be read.

    Raises:
        CaptureError: nobody answers, or there is nothing to read, in one sentence.
    """
    kind = kind_of(url)
    if kind == "network":
        _check_host(url, timeout_seconds)
    elif kind in ("file", "webcam"):
        _check_path(kind, url)


def _network_parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise CaptureError(
        f"{mask_credentials(url)}: names no host and port; write @ : / ? # in a password as %40 %3A %2F %3F %23"
    )


def _check_path(kind: str, url: str) -> None:
    path = Path(path_of(url))
    shown, noun = mask_credentials(url), "device" if kind == "webcam" else "file"
    if not (path.is_file() or (kind == "webcam" and path.exists())):
        raise CaptureError(f"{shown}: there is no such {noun}")
    if kind == "webcam" and not _is_camera(path):
        raise CaptureError(f"{shown}: this device is no camera; give a file by a path outside /dev")
    if not os.access(path, os.R_OK):
        raise CaptureError(f"{shown}: no permission to read this {noun}")
    if kind == "file" and path.stat().st_size == 0:
        raise CaptureError(f"{shown}: the file is empty")


def _is_camera(path: Path) -> bool:
    """Whether it is a video device. Where their number is not known, any character device counts."""
    status = path.stat()
    return stat.S_ISCHR(status.st_mode) and (sys.platform != "linux" or os.major(status.st_rdev) == _VIDEO_MAJOR)


def _check_host(url: str, timeout_seconds: float) -> None:
    shown, parts = mask_credentials(url), _network_parts(url)
    port = parts.port or _NETWORK_PORTS[parts.scheme.lower()]
    try:
        socket.create_connection((parts.hostname, port), timeout_seconds).close()
    except ConnectionRefusedError as exc:
        raise CaptureError(f"{shown}: the connection was refused; nothing listens on port {port}") from exc
    except TimeoutError as exc:
        raise CaptureError(f"{shown}: timed out; no answer within {timeout_seconds:g} s") from exc
    except OSError as exc:
        raise CaptureError(f"{shown}: the host cannot be reached ({exc.strerror})") from exc
