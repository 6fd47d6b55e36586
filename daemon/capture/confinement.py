"""The limits of a capture process: an environment without secrets, and no more memory than frames need.

FFmpeg and the drivers read what strangers send. If something goes wrong there, it shall end only this process, and
find nothing in it that is worth stealing.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
from pathlib import Path

from .settings import SourceConfig

_KEPT = re.compile(
    r"PATH|HOME|TMPDIR|TZ|LANG|LC_\w+|LD_\w+|DYLD_\w+|PYTHON\w+|VIRTUAL_ENV|SSL_CERT_\w+"
    r"|FAKETIME\w*|DONT_FAKE_\w+"  # a clock that a test sets
)
_BESIDE_BYTES = 1 << 30  # decoder, sockets, OpenCV's own
_BYTES_A_PIXEL = 32  # of the largest frame: a decoder keeps up to sixteen frames, and some copies are made
_NOISE_BYTES = 32 << 20


def environment() -> dict[str, str]:
    """The daemon's environment without what a capture process does not need: keys, tokens, proxies."""
    kept = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
    return {**kept, "OPENCV_FFMPEG_DEBUG": "1", "OPENCV_FFMPEG_LOGLEVEL": "24"}


def confine(config: SourceConfig) -> None:
    """Limits what this process may take from here on. Call it when all is imported."""
    beside = _BESIDE_BYTES + _BYTES_A_PIXEL * config.frame_pixels
    _lower(resource.RLIMIT_AS, _mapped_bytes() + beside)
    _lower(resource.RLIMIT_FSIZE, _NOISE_BYTES)  # it writes only error messages
    _lower(resource.RLIMIT_CORE, 0)


def _lower(limit: int, most: int) -> None:
    _, hard = resource.getrlimit(limit)
    if hard == resource.RLIM_INFINITY or most < hard:
        with contextlib.suppress(ValueError, OSError):  # a system that does not know this limit
            resource.setrlimit(limit, (most, most))


def _mapped_bytes() -> int:
    """The address space that is taken already: libraries, and threads' stacks that are mostly never touched."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 4 << 30  # not Linux
