"""The command line. `serve`, `demo`, `scene`, `doctor`, `calibrate` start the daemon's programs; others ask it."""

from __future__ import annotations

import os
import sys
import time
from contextlib import AbstractContextManager, ExitStack, nullcontext
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, Optional, Unpack

import typer
from rich.console import Console

from .. import __version__
from ..daemon.errors import DaemonError
from ..daemon.protocol import DEFAULT_ADDRESS, NAMES, AnswerEnd, is_stream_name
from . import keys as key_folder
from . import pictures, report
from .client import AskOptions, Client
from .errors import BadTime, ClientError
from .when import clock, in_words, parse_past, parse_span, parse_zone

if TYPE_CHECKING:
    from ..daemon.config import DaemonConfig

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
streams_app = typer.Typer(no_args_is_help=True, help="The streams that a daemon watches.")
app.add_typer(streams_app, name="streams")
# Addresses and questions hold brackets and colons: nothing of what is printed is rich's own markup.
out = Console(markup=False, emoji=False, highlight=False)
err = Console(markup=False, emoji=False, highlight=False, stderr=True)

Address = Annotated[
    str, typer.Option(help="the daemon's address; own is a socket that only you can reach", envvar="LONGWATCH_ADDRESS")
]
Keys = Annotated[str, typer.Option(help="folder with this client's keys", envvar="LONGWATCH_KEYS")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for machines")]
StreamOption = Annotated[Optional[str], typer.Option(help="which stream, where there are several")]  # noqa: UP045
TimeOption = Annotated[  # in words, the daemon reads it
    Optional[str],  # noqa: UP045
    typer.Option(help="14:03, 14:03:20, 2026-03-02T14:03, -10m or 'yesterday at 14:05'"),
]
Zone = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--tz", help="time zone of the times given and shown, if not the stream's: UTC, local, Europe/Berlin"),
]
Folder = Annotated[Path, typer.Option("--pictures", help="folder for the evidence pictures")]
_FORGET_SECONDS = 3600.0  # the days that held it are written anew


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
    _become("longwatch.demo.demo", *options)


@app.command()
def scene(
    out: Annotated[Optional[Path], typer.Option(help="the clip, H.264; needs ffmpeg")] = None,  # noqa: UP045
    truth: Annotated[Optional[Path], typer.Option(help="the truth log, JSON lines")] = None,  # noqa: UP045
    seed: Annotated[int, typer.Option(help="which rendered yard", min=0)] = 7,
    start: Annotated[str, typer.Option(help="UTC time of its first second")] = "2026-03-02T14:00:00",
    minutes: Annotated[float, typer.Option(help="how long")] = 1.0,
    busy: Annotated[float, typer.Option(help="how much comes by, 0 to 1")] = 0.3,
    size: Annotated[str, typer.Option(help="width and height")] = "384x288",
    fps: Annotated[float, typer.Option(help="frames a second", min=0.01, max=60)] = 10.0,
) -> None:
    """Writes the rendered yard as a clip, with everything that happens in it as a truth log."""
    if out is None and truth is None:
        _fail("nothing to write; give --out clip.mp4, --truth clip.jsonl or both", 2)
    url = f"scene://?seed={seed}&start={start}&minutes={minutes}&busy={busy}&size={size}"
    options = ["--url", url, "--fps", str(fps)]
    options += [] if out is None else ["--out", str(out)]
    options += [] if truth is None else ["--truth", str(truth)]
    _become("longwatch.yard.clip", *options)


@app.command()
def validate(config: Path) -> None:
    """Checks a configuration file and says in one sentence what is wrong."""
    streams = sorted(_checked(config).streams)
    out.print(f"{config}: in order; watches {', '.join(streams) or 'no streams yet'}", soft_wrap=True)


@app.command()
def doctor(
    config: Path,
    repair: Annotated[bool, typer.Option("--repair", help="remove damaged blocks, set unreadable files aside")] = False,
    as_json: AsJson = False,
) -> None:
    """Examines this machine, the model and every value of the memory, while no daemon runs on it."""
    options = [*(["--repair"] if repair else []), *(["--json"] if as_json else [])]
    _become("longwatch.daemon.doctor", str(config), *options)


@app.command()
def calibrate(
    config: Path,
    needles: Annotated[Optional[str], typer.Option(help="text or scenes; else what the model can read")] = None,  # noqa: UP045
    as_json: AsJson = False,
) -> None:
    """Finds the model's retrieval heads with planted needles, while no daemon runs on its memory."""
    if needles not in (None, "text", "scenes"):
        _fail(f"--needles: {needles} is neither text nor scenes", 2)
    _checked(config)
    options = [*([] if needles is None else ["--needles", needles]), *(["--json"] if as_json else [])]
    _become("longwatch.daemon.calibration.program", str(config), *options)


@app.command()
def version() -> None:
    """Prints the version."""
    print(f"longwatch {__version__}")


@app.command()
def keys(
    folder: Path,
    clients: Annotated[int, typer.Option(help="how many clients", min=1)] = 1,
    role: Annotated[
        str, typer.Option(help="what new ones may do: ask, or manage, which also adds and forgets")
    ] = "manage",
) -> None:
    """Makes keys for a daemon that is reached over a network, and a folder for each client."""
    if role not in ("ask", "manage"):
        _fail(f"--role: {role} is neither ask nor manage", 2)
    for own in key_folder.make(folder, clients, "ask" if role == "ask" else "manage"):
        may = key_folder.role_of(folder, own)
        out.print(f"{own}: for a client, who uses it with --keys and {may}", soft_wrap=True)
    out.print(f'in the configuration: server.keys_folder = "{folder}"', soft_wrap=True)


@app.command()
def ask(
    question: str,
    stream: StreamOption = None,
    since: TimeOption = None,
    until: TimeOption = None,
    at: TimeOption = None,
    tz: Zone = None,
    explain: Annotated[bool, typer.Option("--explain", help="print how the answer came about")] = False,
    as_json: AsJson = False,
    folder: Folder = Path("longwatch-evidence"),
    address: Address = DEFAULT_ADDRESS,
    keys: Keys = "",
) -> None:
    """Asks a question and prints the answer with its evidence."""
    words = in_words(since, until, at)
    if words and tz:
        raise BadTime("times in words are read in the stream's own time zone; leave out --tz")
    with Client(address, keys_folder=keys) as client:
        now_ns, zone = _now(client, stream, tz)
        since_ns, until_ns = (None, None) if words else parse_span(since, until, at, now_ns, zone)
        end, saved = _answer(
            client,
            question,
            folder,
            zone,
            show=not as_json,
            stream=stream,
            since_ns=since_ns,
            until_ns=until_ns,
            time=words,
            explain=explain,
        )
    if as_json:
        print(report.answer_json(end, saved))
        return
    if end.explanation is not None:
        for line in report.explanation_lines(end, end.explanation, zone):
            out.print(line, soft_wrap=True)
        out.print(report.candidates_table(end.explanation, zone))
    out.print(report.confidence_line(end))
    out.print(report.evidence_table(end, saved, zone))
    for gap in end.gaps:
        out.print(f"no video from {clock(gap.start_ns, zone)} to {clock(gap.end_ns, zone)}", style="yellow")
    best = next((evidence.picture for evidence in end.evidence if evidence.picture), b"")
    if best and pictures.terminal_can_show():
        print(pictures.draw(best))


@app.command()
def chat(
    stream: StreamOption = None,
    tz: Zone = None,
    folder: Folder = Path("longwatch-evidence"),
    address: Address = DEFAULT_ADDRESS,
    keys: Keys = "",
) -> None:
    """Asks question after question; an empty line ends it."""
    with Client(address, keys_folder=keys) as client:
        _, zone = _now(client, stream, tz)
        while question := _prompt():
            try:
                end, saved = _answer(client, question, folder, zone, show=True, stream=stream)
                out.print(report.confidence_line(end))
                out.print(report.evidence_table(end, saved, zone))
            except KeyboardInterrupt:
                err.print("cancelled")
            except ClientError as exc:
                err.print(str(exc), soft_wrap=True)


@app.command()
def status(as_json: AsJson = False, address: Address = DEFAULT_ADDRESS, keys: Keys = "") -> None:
    """Says how the daemon is."""
    with _busy("asking the daemon …"), Client(address, keys_folder=keys) as client:
        found = client.status()
    if as_json:
        print(report.status_json(found))
        return
    for line in report.status_lines(found):
        out.print(line, soft_wrap=True)
    out.print(report.streams_table(found))


@streams_app.command("list")
def streams_list(address: Address = DEFAULT_ADDRESS, keys: Keys = "") -> None:
    """Lists the streams."""
    with _busy("asking the daemon …"), Client(address, keys_folder=keys) as client:
        found = client.status()
    out.print(report.streams_table(found))


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
    if not is_stream_name(name):
        _fail(f"{name!r} is no name; {NAMES}", 2)
    if Path(url).is_file():
        url = str(Path(url).resolve())  # the daemon may run in another folder
    with _busy("asking the daemon …"), Client(address, keys_folder=keys) as client:
        client.add_stream(name, url=url, fps=fps, pace=pace)


@streams_app.command("remove")
def streams_remove(name: str, address: Address = DEFAULT_ADDRESS, keys: Keys = "") -> None:
    """Stops watching a stream; its memory stays."""
    with _busy("asking the daemon …"), Client(address, keys_folder=keys) as client:
        client.remove_stream(name)


@app.command()
def forget(
    stream: Annotated[str, typer.Option(help="which stream")],
    since: Annotated[Optional[str], typer.Option("--from", help="14:03, 2026-03-02T14:03 or -10m")] = None,  # noqa: UP045
    until: Annotated[Optional[str], typer.Option("--to", help="as --from")] = None,  # noqa: UP045
    tz: Zone = None,
    address: Address = DEFAULT_ADDRESS,
    keys: Keys = "",
) -> None:
    """Forgets what a stream saw in a time: nothing of it stays in memory or on disk, and nothing brings it back."""
    if not since and not until:
        _fail("say what to forget: --from, --to or both", 2)
    with Client(address, keys_folder=keys, timeout_seconds=_FORGET_SECONDS) as client:
        now_ns, zone = _now(client, stream, tz)
        since_ns, until_ns = parse_past(since, until, now_ns, zone)
        with _busy("rewriting the memory …"):
            blocks = client.forget(stream, since_ns, until_ns)
    begin = "the beginning" if since_ns is None else clock(since_ns, zone)
    end = "now" if until_ns is None else clock(until_ns, zone)
    out.print(f"{stream}: {blocks} blocks from {begin} to {end} are forgotten", soft_wrap=True)


def main() -> None:
    """The program `longwatch`: one sentence and an exit code where something goes wrong."""
    try:
        app()
    except ClientError as exc:
        _fail(str(exc), exc.exit_code)


def _checked(config: Path) -> DaemonConfig:
    """A configuration file, told to be wrong before anything heavy loads."""
    from ..daemon.config import load_config

    try:
        return load_config(config)
    except DaemonError as exc:
        _fail(str(exc), 2)


def _become(module: str, *arguments: str) -> NoReturn:
    """Replaces this program by one of the daemon's, which may load the model."""
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *arguments])  # -P: no module of this folder


def _fail(sentence: str, code: int) -> NoReturn:
    print(f"longwatch: {sentence}", file=sys.stderr)
    sys.exit(code)


def _busy(doing: str) -> AbstractContextManager[object]:
    """A sign of life on a terminal, gone afterwards."""
    return err.status(doing) if err.is_terminal else nullcontext()


def _prompt() -> str:
    try:
        return input("? ").strip()
    except EOFError:
        return ""


def _now(client: Client, stream: str | None, tz: str | None) -> tuple[int, tzinfo]:
    """The newest time that the stream, or any, has seen, from which `14:03` and `-10m` are told, and the time zone."""
    asked = [s for s in client.status().streams if stream in (None, s.name)]
    zones = {s.time_zone for s in asked}
    zone = parse_zone(tz or (zones.pop() if len(zones) == 1 else "UTC"))
    return max((s.last_ns for s in asked), default=0) or time.time_ns(), zone


def _answer(
    client: Client, question: str, folder: Path, zone: tzinfo, *, show: bool, **options: Unpack[AskOptions]
) -> tuple[AnswerEnd, list[Path | None]]:
    """Asks, prints the text as it comes where it is to be shown, and saves the evidence's pictures."""
    end = None
    with ExitStack() as waiting:
        waiting.enter_context(_busy("looking back …"))
        for piece in client.ask_stream(question, **options):
            waiting.close()
            if isinstance(piece, AnswerEnd):
                end = piece
            elif show:
                print(piece, end="", flush=True)
    assert end is not None, "an answer ends with its evidence"
    if show:
        print()
    return end, pictures.save(end, folder, zone)


if __name__ == "__main__":
    main()
