"""The command line. `serve`, `demo` and `validate` start the daemon's own programs; the rest are clients."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn, Optional

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from .. import __version__
from ..daemon.errors import ConfigError
from ..daemon.protocol import DEFAULT_ADDRESS, AnswerEnd, StatusReply
from . import pictures
from .client import Client
from .errors import BadTime, ClientError, ClientTimeout, DaemonUnreachable
from .when import clock, parse_span

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
streams_app = typer.Typer(no_args_is_help=True, help="The streams that a daemon watches.")
app.add_typer(streams_app, name="streams")
out, err = Console(), Console(stderr=True)

Address = Annotated[str, typer.Option(help="the daemon's address", envvar="LONGWATCH_ADDRESS")]
Keys = Annotated[str, typer.Option(help="folder with this client's keys", envvar="LONGWATCH_KEYS")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for machines")]
StreamOption = Annotated[Optional[str], typer.Option(help="which stream, where there are several")]  # noqa: UP045
TimeOption = Annotated[Optional[str], typer.Option(help="14:03, 14:03:20, 2026-03-02T14:03 or -10m (UTC)")]  # noqa: UP045
Folder = Annotated[Path, typer.Option("--pictures", help="folder for the evidence pictures")]


@app.command()
def serve(config: Path) -> None:
    """Watches the cameras of a configuration file until stopped."""
    _become("longwatch.daemon.main", str(config))


@app.command()
def demo(
    seed: Annotated[int, typer.Option(help="which rendered yard")] = 7,
    as_json: AsJson = False,
    folder: Annotated[Path, typer.Option(help="where store, log and pictures go; emptied first")] = Path(
        "longwatch-demo"
    ),
) -> None:
    """Watches a rendered yard and asks about what it saw, with no camera and no download."""
    options = ["--seed", str(seed), "--folder", str(folder), *(["--json"] if as_json else [])]
    _become("longwatch.daemon.demo", *options)


@app.command()
def validate(config: Path) -> None:
    """Checks a configuration file and says in one sentence what is wrong."""
    from ..daemon.config import load_config

    try:
        found = load_config(config)
    except ConfigError as exc:
        _fail(str(exc), 2)
    out.print(f"{config}: in order; watches {', '.join(sorted(found.streams)) or 'no streams yet'}")


@app.command()
def version() -> None:
    """Prints the version."""
    print(f"longwatch {__version__}")


@app.command()
def keys(folder: Path, clients: Annotated[int, typer.Option(help="how many clients")] = 1) -> None:
    """Makes keys for a daemon that is reached over a network, and a folder for each client."""
    import zmq.auth

    (folder / "clients").mkdir(parents=True, exist_ok=True)
    server_public, _ = zmq.auth.create_certificates(str(folder), "server")
    for number in range(1, clients + 1):
        own = folder / f"client-{number}"
        own.mkdir(exist_ok=True)
        public, _ = zmq.auth.create_certificates(str(own), "client")
        (folder / "clients" / f"client-{number}.key").write_bytes(Path(public).read_bytes())
        (own / "server.key").write_bytes(Path(server_public).read_bytes())
    out.print(f'server.keys_folder = "{folder}"; give each client its folder client-N and use --keys')


@app.command()
def ask(
    question: str,
    stream: StreamOption = None,
    since: TimeOption = None,
    until: TimeOption = None,
    at: TimeOption = None,
    as_json: AsJson = False,
    folder: Folder = Path("longwatch-evidence"),
    address: Address = DEFAULT_ADDRESS,
    keys: Keys = "",
) -> None:
    """Asks a question and prints the answer with its evidence."""
    with _client(address, keys) as client:
        since_ns, until_ns = _span(client, stream, since, until, at)
        _answer(client, question, stream, since_ns, until_ns, folder, as_json)


@app.command()
def chat(
    stream: StreamOption = None,
    folder: Folder = Path("longwatch-evidence"),
    address: Address = DEFAULT_ADDRESS,
    keys: Keys = "",
) -> None:
    """Asks question after question; an empty line ends it."""
    with _client(address, keys) as client:
        while question := _prompt():
            try:
                _answer(client, question, stream, None, None, folder, False)
            except KeyboardInterrupt:
                err.print("cancelled")
            except ClientError as exc:
                err.print(str(exc))


@app.command()
def status(as_json: AsJson = False, address: Address = DEFAULT_ADDRESS, keys: Keys = "") -> None:
    """Says how the daemon is."""
    with _client(address, keys) as client:
        found = client.status()
    if as_json:
        print(msgspec.json.encode(found).decode())
    else:
        _print_status(found)


@streams_app.command("list")
def streams_list(address: Address = DEFAULT_ADDRESS, keys: Keys = "") -> None:
    """Lists the streams."""
    with _client(address, keys) as client:
        out.print(_streams_table(client.status()))


@streams_app.command("add")
def streams_add(
    name: str,
    url: str,
    fps: Annotated[float, typer.Option(help="frames a second")] = 1.0,
    pace: Annotated[str, typer.Option(help="real, or fast for files and scenes")] = "real",
    address: Address = DEFAULT_ADDRESS,
    keys: Keys = "",
) -> None:
    """Watches one more stream."""
    with _client(address, keys) as client:
        client.add_stream(name, url=url, fps=fps, pace=pace)


@streams_app.command("remove")
def streams_remove(name: str, address: Address = DEFAULT_ADDRESS, keys: Keys = "") -> None:
    """Stops watching a stream; its memory stays."""
    with _client(address, keys) as client:
        client.remove_stream(name)


def main() -> None:
    """The program `longwatch`: one sentence and an exit code where something goes wrong."""
    try:
        app()
    except (DaemonUnreachable, ClientTimeout) as exc:
        _fail(str(exc), 3)
    except BadTime as exc:
        _fail(str(exc), 2)
    except ClientError as exc:
        _fail(str(exc), 4)


def _become(module: str, *arguments: str) -> NoReturn:
    """Replaces this program by one of the daemon's, which may load the model."""
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


def _fail(sentence: str, code: int) -> NoReturn:
    print(f"longwatch: {sentence}", file=sys.stderr)
    sys.exit(code)


@contextmanager
def _client(address: str, keys: str) -> Iterator[Client]:
    with Client(address, keys_folder=keys) as client:
        yield client


def _prompt() -> str:
    try:
        return input("? ").strip()
    except EOFError:
        return ""


def _span(
    client: Client, stream: str | None, since: str | None, until: str | None, at: str | None
) -> tuple[int | None, int | None]:
    """The times in nanoseconds; only asks the daemon what the time is where it matters."""
    if not (since or until or at):
        return None, None
    known = [s.last_ns for s in client.status().streams if stream in (None, s.name)]
    return parse_span(since, until, at, max(known, default=0))


def _answer(
    client: Client,
    question: str,
    stream: str | None,
    since_ns: int | None,
    until_ns: int | None,
    folder: Path,
    as_json: bool,
) -> None:
    """Asks, prints the text as it comes, then the evidence."""
    end = None
    waiting = err.status("looking back …") if err.is_terminal and not as_json else None
    if waiting:
        waiting.start()
    for piece in client.ask_stream(question, stream=stream, since_ns=since_ns, until_ns=until_ns):
        if waiting:
            waiting.stop()
            waiting = None
        if isinstance(piece, AnswerEnd):
            end = piece
        elif not as_json:
            print(piece, end="", flush=True)
    assert end is not None, "an answer ends with its evidence"
    saved = pictures.save(end, folder)
    if as_json:
        print(_answer_json(end, saved))
        return
    print()
    out.print(_evidence_table(end, saved))
    for gap in end.gaps:
        out.print(f"no video from {clock(gap.start_ns)} to {clock(gap.end_ns)}", style="yellow")
    shown = [evidence.picture for evidence in end.evidence if evidence.picture]
    if shown and pictures.terminal_can_show():
        print(pictures.draw(shown))


def _answer_json(end: AnswerEnd, saved: list[Path | None]) -> str:
    content = msgspec.to_builtins(end)
    for evidence, path in zip(content["evidence"], saved, strict=True):
        evidence["picture"] = None if path is None else str(path)
    return msgspec.json.encode(content).decode()


def _evidence_table(end: AnswerEnd, saved: list[Path | None]) -> Table:
    table = Table("from", "to", "share", "from the", "picture", box=None)
    for evidence, path in zip(end.evidence, saved, strict=True):
        where = "memory" if evidence.origin == "recalled" else "window"
        table.add_row(
            clock(evidence.start_ns),
            clock(evidence.end_ns)[11:],
            f"{evidence.score:.2f}",
            where,
            str(path or "-"),
        )
    return table


def _print_status(found: StatusReply) -> None:
    out.print(f"longwatch {found.version}, {found.model} on {found.device}, up {found.uptime_seconds:.0f} s")
    dead = [name for name, alive in found.threads.items() if not alive]
    health = "all threads alive" if not dead else f"dead or failing: {', '.join(dead)}"
    out.print(f"{health}; {found.restarts} restarts; retriever {found.retriever}; {found.answers_running} answers")
    out.print(
        f"process {found.process_bytes >> 20} MiB; blocks in RAM {found.ram_blocks} ({found.ram_bytes >> 20} MiB); "
        f"on disk {found.disk_bytes >> 20} MiB; {found.queued_blocks} waiting to be written"
    )
    if found.store_error:
        out.print(f"store: {found.store_error}", style="red")
    out.print(_streams_table(found))


def _streams_table(found: StatusReply) -> Table:
    table = Table("stream", "state", "frames", "dropped", "blocks", "durable", "newest", "gaps", "source", box=None)
    for stream in found.streams:
        table.add_row(
            stream.name,
            stream.state,
            str(stream.frames),
            str(stream.dropped),
            str(stream.blocks),
            str(stream.durable_id),
            clock(stream.last_ns) if stream.last_ns else "-",
            str(len(stream.gaps)),
            stream.last_error or stream.url,
        )
    return table
