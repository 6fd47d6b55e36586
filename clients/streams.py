"""The commands about a daemon's streams: what they do, which there are, and what is forgotten of them."""

from __future__ import annotations

import time
from datetime import tzinfo
from pathlib import Path
from typing import Annotated

import typer

from ..daemon.protocol import DEFAULT_ADDRESS, NAMES, is_stream_name
from . import options, report
from .client import Client
from .terminal import fail, out, show_busy
from .times import clock, parse_past, parse_zone

_FORGET_SECONDS = 3600.0  # the files of the days it touches are rewritten
app = typer.Typer(no_args_is_help=True, help="Shows, adds and removes the streams that a daemon watches.")


def status(
    as_json: options.AsJson = False, address: options.Address = DEFAULT_ADDRESS, keys: options.Keys = ""
) -> None:
    """Shows the state of the daemon and its streams."""
    with show_busy("asking the daemon …"), Client(address, keys_folder=keys) as client:
        found = client.status()
    if as_json:
        print(report.status_json(found))
        return
    for line in report.status_lines(found):
        out.print(line, soft_wrap=True)
    out.print(report.streams_table(found))


@app.command("list")
def list_streams(address: options.Address = DEFAULT_ADDRESS, keys: options.Keys = "") -> None:
    """Lists the streams."""
    with show_busy("asking the daemon …"), Client(address, keys_folder=keys) as client:
        found = client.status()
    out.print(report.streams_table(found))


@app.command("add")
def add_stream(
    name: str,
    url: str,
    fps: Annotated[float, typer.Option(help="frames a second")] = 1.0,
    pace: Annotated[str, typer.Option(help="real, or fast for files and scenes")] = "real",
    address: options.Address = DEFAULT_ADDRESS,
    keys: options.Keys = "",
) -> None:
    """Watches one more stream, also after a restart."""
    if not is_stream_name(name):
        fail(f"{name!r} is not a valid name; {NAMES}", 2)
    if Path(url).is_file():
        url = str(Path(url).resolve())  # the daemon may run in another folder
    with show_busy("asking the daemon …"), Client(address, keys_folder=keys) as client:
        client.add_stream(name, url=url, fps=fps, pace=pace)


@app.command("remove")
def remove_stream(name: str, address: options.Address = DEFAULT_ADDRESS, keys: options.Keys = "") -> None:
    """Stops watching a stream. Its memory stays: it can still be asked about, and forgotten."""
    with show_busy("asking the daemon …"), Client(address, keys_folder=keys) as client:
        client.remove_stream(name)


def forget(
    stream: Annotated[str, typer.Option(help="which stream")],
    since: Annotated[str | None, typer.Option("--from", help="14:03, 2026-03-02T14:03 or -10m")] = None,
    until: Annotated[str | None, typer.Option("--to", help="written like --from; without it, up to now")] = None,
    tz: options.Zone = None,
    address: options.Address = DEFAULT_ADDRESS,
    keys: options.Keys = "",
) -> None:
    """Forgets what a stream saw in a time, for good: nothing of it stays in memory or on disk."""
    if not since and not until:
        fail("say what to forget: --from, --to or both", 2)
    with Client(address, keys_folder=keys, timeout_seconds=_FORGET_SECONDS) as client:
        now_ns, zone = find_now(client, stream, tz)
        since_ns, until_ns = parse_past(since, until, now_ns, zone)
        with show_busy("rewriting the memory …"):
            blocks = client.forget(stream, since_ns, until_ns)
    begin = "the beginning" if since_ns is None else clock(since_ns, zone)
    end = "now" if until_ns is None else clock(until_ns, zone)
    out.print(f"{stream}: {blocks} blocks from {begin} to {end} are forgotten", soft_wrap=True)


def find_now(client: Client, stream: str | None, tz: str | None) -> tuple[int, tzinfo]:
    """The newest time that the stream, or any, has seen, and the time zone to read times in.

    `14:03` and `-10m` are read as seen from that time.
    """
    asked = [each for each in client.status().streams if stream in (None, each.name)]
    zones = {each.time_zone for each in asked}
    zone = parse_zone(tz or (zones.pop() if len(zones) == 1 else "UTC"))
    return max((each.last_ns for each in asked), default=0) or time.time_ns(), zone
