"""`ShiftedClock`: a wrong time of day for a process. Its monotonic clock stays right.

A small library is put before the C library's own. (Debian's faketime does as much and more, but lets `time.sleep` fail
now and then: it takes the end of a sleep by the monotonic clock for a time of day.)
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

_SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long *ahead;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("FAKETIME_AHEAD");
    int file = name ? open(name, O_RDONLY) : -1;
    if (file < 0) return;
    void *mapped = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) ahead = mapped;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *ahead;
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
"""


class ShiftedClock:
    """What a process that is started with `environment` takes for the time, and its children too.

    Attributes:
        trouble: why no clock can be shifted here; empty where it can.
    """

    def __init__(self, folder: Path) -> None:
        self._file, self._library = folder / "clock", folder / "clock.so"
        self.shift(0)
        self.trouble = self._compile()

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that is to see this clock. (A capture process is handed FAKETIME… on, and little else.)"""
        return {**os.environ, "LD_PRELOAD": str(self._library), "FAKETIME_AHEAD": str(self._file)}

    def shift(self, seconds: int) -> None:
        """From now on the clock is so far ahead of the true one, or behind it."""
        mode = "r+b" if self._file.exists() else "wb"
        with self._file.open(mode) as file:  # written in place: it is mapped
            file.write(struct.pack("=q", seconds))

    def _compile(self) -> str:
        if shutil.which("gcc") is None:
            return "gcc is not installed"
        command = ["gcc", "-O1", "-shared", "-fPIC", "-x", "c", "-", "-o", str(self._library)]
        done = subprocess.run(command, input=_SOURCE, capture_output=True, text=True, check=False)
        return done.stderr.strip().splitlines()[-1] if done.returncode else ""
