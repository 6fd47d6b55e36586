"""The rendered yard as files: an H.264 clip, and its truth log beside it.

The truth log is JSON lines, one change each in time order, with the keys that `Scene.truth` names.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import track

from .errors import YardError
from .scene import Scene

_DEFAULT_MINUTES = 1.0


def write_clip(scene: Scene, seconds: float, fps: float, out: Path, show: Console) -> int:
    """Encodes the scene with FFmpeg and returns how many frames it wrote.

    Raises:
        YardError: FFmpeg is not there, or cannot write the file.
    """
    if shutil.which("ffmpeg") is None:
        raise YardError("ffmpeg is not installed; it writes the clip (Debian: apt install ffmpeg)")
    size, frames = f"{scene.width}x{scene.height}", round(seconds * fps)
    read = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", size, "-r", str(fps), "-i", "-"]
    write = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p", "-y", str(out)]
    with subprocess.Popen(
        ["ffmpeg", "-loglevel", "error", *read, *write], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as encoder:
        if encoder.stdin is None or encoder.stderr is None:
            raise YardError("ffmpeg could not be started")
        try:
            for i in track(range(frames), "rendering", console=show, transient=True):
                encoder.stdin.write(scene.render(i / fps).tobytes())
            encoder.stdin.close()
        except BrokenPipeError:
            pass  # it says why on stderr
        message = encoder.stderr.read().decode(errors="replace").strip()
    if encoder.returncode:
        raise YardError(f"{out}: ffmpeg could not write it ({message.splitlines()[-1] if message else 'no reason'})")
    return frames


def write_truth(scene: Scene, seconds: float, out: Path) -> int:
    """Writes the truth log and returns how many lines it has."""
    try:
        with out.open("w") as file:
            lines = scene.truth(0, seconds)
            file.writelines(json.dumps(line) + "\n" for line in lines)
    except OSError as exc:
        raise YardError(f"{out}: cannot be written ({exc.strerror})") from exc
    return len(lines)


def main() -> None:
    """`longwatch scene`: writes a clip, a truth log, or both."""
    parser = argparse.ArgumentParser(prog="longwatch scene")
    parser.add_argument("--url", required=True)
    parser.add_argument("--fps", type=float, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--truth", type=Path)
    options = parser.parse_args()
    show = Console(stderr=True)
    try:
        scene = Scene.from_url(options.url)
        seconds = scene.duration_seconds or _DEFAULT_MINUTES * 60
        if options.truth:
            print(f"{options.truth}: {write_truth(scene, seconds, options.truth)} changes")
        if options.out:
            frames = write_clip(scene, seconds, options.fps, options.out, show)
            print(f"{options.out}: {frames} frames of {scene.width}x{scene.height}")
    except YardError as exc:
        show.print(f"longwatch: {exc}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
