"""The commands that ask: `ask` and `chat`."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import tzinfo
from pathlib import Path
from typing import Annotated, Unpack

import typer

from ..daemon.errors import StreamUnknown
from ..daemon.protocol import DEFAULT_ADDRESS, AnswerEnd
from . import options, pictures, report
from .client import AskOptions, Client
from .errors import BadTime, ClientError, Refused
from .streams import find_now
from .terminal import err, out, show_busy
from .times import clock, in_words, parse_span


def ask(
    question: str,
    stream: options.StreamOption = None,
    since: options.Since = None,
    until: options.Until = None,
    at: options.At = None,
    tz: options.Zone = None,
    explain: Annotated[bool, typer.Option("--explain", help="print how the answer came about")] = False,
    as_json: options.AsJson = False,
    folder: options.Folder = options.EVIDENCE_FOLDER,
    address: options.Address = DEFAULT_ADDRESS,
    keys: options.Keys = "",
) -> None:
    """Asks a question and prints the answer with the pictures it rests on."""
    words = in_words(since, until, at)
    if words and tz:
        raise BadTime("--tz works only with clock times such as 14:05")
    with Client(address, keys_folder=keys) as client:
        now_ns, zone = find_now(client, stream, tz)
        since_ns, until_ns = (None, None) if words else parse_span(since, until, at, now_ns, zone)
        end, saved = _ask(
            client,
            question,
            folder,
            zone,
            print_text=not as_json,
            stream=stream,
            since_ns=since_ns,
            until_ns=until_ns,
            time=words,
            explain=explain,
        )
    if as_json:
        print(report.answer_json(end, saved))
    else:
        _print_report(end, saved, zone)
        _draw_best(end)


def chat(
    stream: options.StreamOption = None,
    tz: options.Zone = None,
    folder: options.Folder = options.EVIDENCE_FOLDER,
    address: options.Address = DEFAULT_ADDRESS,
    keys: options.Keys = "",
) -> None:
    """Asks question after question; an empty line ends it."""
    with Client(address, keys_folder=keys) as client:
        _, zone = find_now(client, stream, tz)
        while question := _read_question():
            try:
                end, saved = _ask(client, question, folder, zone, print_text=True, stream=stream)
                _print_report(end, saved, zone)
            except KeyboardInterrupt:
                err.print("cancelled")
            except ClientError as exc:
                err.print(str(exc), soft_wrap=True)


def _ask(
    client: Client, question: str, folder: Path, zone: tzinfo, *, print_text: bool, **asked: Unpack[AskOptions]
) -> tuple[AnswerEnd, list[Path | None]]:
    """Asks, prints the text as it comes if it is to be printed, and saves the evidence's pictures."""
    end = None
    try:
        with ExitStack() as waiting:
            waiting.enter_context(show_busy("looking back …"))
            for piece in client.ask_stream(question, **asked):
                waiting.close()
                if isinstance(piece, AnswerEnd):
                    end = piece
                elif print_text:
                    print(piece, end="", flush=True)
    except Refused as exc:
        raise _in_own_words(exc, client, asked.get("stream")) from exc
    assert end is not None, "an answer ends with its evidence"
    if print_text:
        print()
    return end, pictures.save(end, folder, zone)


def _in_own_words(refused: Refused, client: Client, stream: str | None) -> Refused:
    """The refusal of a question that names no stream, with the options that would name one."""
    if refused.code != StreamUnknown.code or stream:
        return refused
    choices = " or ".join(f"--stream {each.name}" for each in client.status().streams)
    return Refused(refused.code, f"which stream? add {choices}") if choices else refused


def _print_report(end: AnswerEnd, saved: list[Path | None], zone: tzinfo) -> None:
    if end.explanation is not None:
        for line in report.explanation_lines(end, end.explanation, zone):
            out.print(line, soft_wrap=True)
        out.print(report.candidates_table(end.explanation, zone))
    if line := report.confidence_line(end):
        out.print(line)
    if end.evidence:
        out.print(report.evidence_table(end, saved, zone))
    for gap in end.gaps:
        out.print(f"no video from {clock(gap.start_ns, zone)} to {clock(gap.end_ns, zone)}", style="yellow")


def _draw_best(end: AnswerEnd) -> None:
    best = next((evidence.picture for evidence in end.evidence if evidence.picture), b"")
    if best and pictures.terminal_can_show():
        print(pictures.draw(best))


def _read_question() -> str:
    try:
        return input("? ").strip()
    except EOFError:
        return ""
