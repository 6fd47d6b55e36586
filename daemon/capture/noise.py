"""`Noise`: what a capture process and its libraries write to stdout and stderr, kept small and off the terminal."""

from __future__ import annotations

import os
import re
import tempfile

_MEANINGS = (  # what FFmpeg and OpenCV write if a source cannot be opened, and what it means to a user
    (r"(failed:|error) 401\b", "wrong user or password"),
    (r"(failed:|error) 403\b", "access is forbidden to this user"),
    (r"(failed:|error) 404\b", "the server has no such stream"),
    (r"ot on whitelist", "this kind of file is not read; playlists and texts name or show what is not theirs"),
    (r"Connection refused", "the connection was refused"),
    (r"Stream timeout triggered|timed out", "timed out; the server answers, but sends no video"),
    (r"moov atom not found|low score|Invalid data found", "it is not a video, or it is damaged or cut off"),
)


class Noise:
    """A file without a name that a process writes to. A pipe that nobody reads would stop it.

    Belongs to one thread. The process gets `file` as its stdout and stderr.
    """

    def __init__(self) -> None:
        # In append mode, the process goes on at the new end after the file was emptied.
        self.file = tempfile.TemporaryFile(mode="a+b")  # noqa: SIM115 - lives as long as the process

    def clear(self) -> None:
        """Forgets what was written. With a damaged stream, FFmpeg writes something for every frame, for weeks."""
        if os.fstat(self.file.fileno()).st_size:
            os.ftruncate(self.file.fileno(), 0)

    def close(self) -> None:
        """Lets the file go."""
        self.file.close()

    @property
    def meaning(self) -> str:
        """Why a source could not be opened; empty if the noise does not say."""
        text = self._text()
        return next((meaning for sign, meaning in _MEANINGS if re.search(sign, text)), "")

    @property
    def last_line(self) -> str:
        """What the process wrote last. If that is a traceback, the exception."""
        lines = [line.strip() for line in self._text().splitlines() if line.strip()]
        return lines[-1][:300] if lines else ""

    def _text(self) -> str:
        size = os.fstat(self.file.fileno()).st_size
        most = 64 * 1024
        return os.pread(self.file.fileno(), most, max(0, size - most)).decode(errors="replace")
