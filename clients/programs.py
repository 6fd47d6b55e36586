"""The commands that run a program on this machine; none of them speaks to a running daemon."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from .. import __version__
from ..daemon.errors import DaemonError
from . import keys as key_folder
from .options import AsJson
from .terminal import fail, out

if TYPE_CHECKING:
    from ..daemon.config import DaemonConfig

Config = Annotated[Path, typer.Argument(help="the configuration file, such as configs/camera.toml")]
Seed = Annotated[int, typer.Option(help="which yard; another seed has another history", min=0)]


def serve(config: Config) -> None:
    """Watches the cameras of a configuration file until it is stopped."""
    _become("longwatch.daemon.main", str(config))


def demo(
    seed: Seed = 7,
    as_json: AsJson = False,
    folder: Annotated[Path, typer.Option(help="where its files go; emptied first")] = Path("longwatch-demo"),
) -> None:
    """Watches 30 simulated minutes of a drawn yard and asks about them. No camera, no download, a minute or two."""
    options = ["--seed", str(seed), "--folder", str(folder), *(["--json"] if as_json else [])]
    _become("longwatch.demo.demo", *options)


def scene(
    out: Annotated[Path | None, typer.Option(help="the clip, H.264; needs ffmpeg")] = None,
    truth: Annotated[Path | None, typer.Option(help="the log of what happens, JSON lines")] = None,
    seed: Seed = 7,
    start: Annotated[str, typer.Option(help="UTC time of its first second")] = "2026-03-02T14:00:00",
    minutes: Annotated[float, typer.Option(help="how long")] = 1.0,
    busy: Annotated[float, typer.Option(help="how much happens, 0 to 1")] = 0.3,
    size: Annotated[str, typer.Option(help="width and height")] = "384x288",
    fps: Annotated[float, typer.Option(help="frames a second", min=0.01, max=60)] = 10.0,
) -> None:
    """Writes the drawn yard as a clip, and a log of everything that happens in it."""
    if out is None and truth is None:
        fail("nothing to write; give --out clip.mp4, --truth clip.jsonl or both", 2)
    url = f"scene://?seed={seed}&start={start}&minutes={minutes}&busy={busy}&size={size}"
    options = ["--url", url, "--fps", str(fps)]
    options += [] if out is None else ["--out", str(out)]
    options += [] if truth is None else ["--truth", str(truth)]
    _become("longwatch.yard.clip", *options)


def validate(config: Config) -> None:
    """Checks a configuration file and says what is wrong with it."""
    streams = sorted(_load(config).streams)
    noun = "stream" if len(streams) == 1 else "streams"
    names = f" ({', '.join(streams)})" if streams else ""
    out.print(f"{config}: OK, {len(streams) or 'no'} {noun}{names}", soft_wrap=True)


def doctor(
    config: Config,
    repair: Annotated[bool, typer.Option("--repair", help="remove damaged blocks, set unreadable files aside")] = False,
    as_json: AsJson = False,
) -> None:
    """Checks this machine, the model and everything in the memory. Stop the daemon first."""
    options = [*(["--repair"] if repair else []), *(["--json"] if as_json else [])]
    _become("longwatch.daemon.doctor", str(config), *options)


def calibrate(
    config: Config,
    needles: Annotated[str | None, typer.Option(help="text or scenes; if not given, what the model can read")] = None,
    as_json: AsJson = False,
) -> None:
    """Re-tunes the search for your model (advanced; it runs by itself when needed). Stop the daemon first."""
    if needles not in (None, "text", "scenes"):
        fail(f"--needles: {needles} is neither text nor scenes", 2)
    _load(config)
    options = [*([] if needles is None else ["--needles", needles]), *(["--json"] if as_json else [])]
    _become("longwatch.daemon.calibration.program", str(config), *options)


def keys(
    folder: Annotated[Path, typer.Argument(help="where they go; keys that are there stay")],
    clients: Annotated[int, typer.Option(help="how many clients", min=1)] = 1,
    role: Annotated[
        str, typer.Option(help="what new clients may do: ask, or manage, which also adds, removes and forgets")
    ] = "manage",
) -> None:
    """Makes keys for a daemon that is reached over a network, and a folder of keys for each client."""
    if role not in ("ask", "manage"):
        fail(f"--role: {role} is neither ask nor manage", 2)
    for own in key_folder.make(folder, clients, "ask" if role == "ask" else "manage"):
        may = key_folder.role_of(folder, own)
        use = f"longwatch ask --address tcp://HOST:PORT --keys {own.name} …"
        out.print(f"{own} {may}. Copy it to the client's computer and run there: {use}", soft_wrap=True)
    out.print(f'In the daemon\'s configuration: server.keys_folder = "{folder}"', soft_wrap=True)


def version() -> None:
    """Prints the version."""
    print(f"longwatch {__version__}")


def _load(config: Path) -> DaemonConfig:
    """Reads a configuration file, so that a mistake is told before anything heavy loads."""
    _require_daemon()
    from ..daemon.config import load_config

    try:
        return load_config(config)
    except DaemonError as exc:
        fail(str(exc), 2)


def _become(module: str, *arguments: str) -> NoReturn:
    """Replaces this program by another of Longwatch's, which may load the model."""
    _require_daemon()
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *arguments])  # -P: no module of this folder


def _require_daemon() -> None:
    if importlib.util.find_spec("longwatch.memory") is None:
        fail("only the client is installed here; for this command install longwatch", 2)
