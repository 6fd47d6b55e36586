"""The command line: `longwatch`."""

from __future__ import annotations

from typing import Annotated

import typer

from . import programs, questions, streams
from .errors import ClientError
from .terminal import fail

_PANELS = {
    "Speak to a running daemon": (questions.ask, questions.chat, streams.status, streams.forget),
    "Run on this machine": (
        programs.serve,
        programs.demo,
        programs.validate,
        programs.doctor,
        programs.calibrate,
        programs.scene,
        programs.keys,
        programs.version,
    ),
}
app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)


def on_version(asked: bool) -> None:
    """Prints the version and ends the program, if that was asked for."""
    if asked:
        programs.version()
        raise typer.Exit


@app.callback()
def on_start(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=on_version)
    ] = False,
) -> None:
    """Watches cameras and answers questions about anything they saw."""


def main() -> None:
    """Runs the program; where something goes wrong, it ends with one sentence and an exit code."""
    try:
        app(prog_name="longwatch")
    except ClientError as exc:
        fail(str(exc), exc.exit_code)


for _panel, _commands in _PANELS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)
app.add_typer(streams.app, name="streams", rich_help_panel="Speak to a running daemon")

if __name__ == "__main__":
    main()
