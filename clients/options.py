"""The options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_TIMES = "14:03, 14:03:20, 2026-03-02T14:03, -10m or 'yesterday at 14:05'"
EVIDENCE_FOLDER = Path("longwatch-evidence")

Address = Annotated[
    str, typer.Option(help="where the daemon listens; 'own' is a socket only you can reach", envvar="LONGWATCH_ADDRESS")
]
Keys = Annotated[str, typer.Option(help="folder with this client's keys", envvar="LONGWATCH_KEYS")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
StreamOption = Annotated[str | None, typer.Option(help="which stream, if there are several")]
Since = Annotated[str | None, typer.Option(help=f"look from this time on: {_TIMES}")]
Until = Annotated[str | None, typer.Option(help="look up to this time; written like --since")]
At = Annotated[str | None, typer.Option(help="look at this time only; written like --since")]
Zone = Annotated[
    str | None,
    typer.Option("--tz", help="time zone of the times given and shown, if not the stream's: UTC, local, Europe/Berlin"),
]
Folder = Annotated[Path, typer.Option("--pictures", help="folder for the evidence pictures")]
