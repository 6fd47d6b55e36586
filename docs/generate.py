"""Writes the pages that are made from code and measurements: `python docs/generate.py`; with `--check` it only looks.

docs/wire.md            from daemon/protocol.py and daemon/errors.py
docs/configuration.md   from the configuration's structs and the comments in configs/camera.toml
docs/figures.md         from benchmarks/results/*.json
README.md               its table of ten figures, from the same JSON
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import re
import sys
import textwrap
import tomllib
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from longwatch.daemon import errors, protocol
from longwatch.daemon.config import DaemonConfig
from longwatch.memory.errors import StorageError
from longwatch.memory.settings import FadeStep
from longwatch.retrieval.errors import RetrievalError

ROOT = Path(__file__).parents[1]
RESULTS, CAMERA = ROOT / "benchmarks" / "results", ROOT / "configs" / "camera.toml"
MADE_BY = "<!-- made by docs/generate.py; do not edit -->"
BEGIN, END = "<!-- figures: made by docs/generate.py -->", "<!-- end of figures -->"
_FIRST = ("demo", "embedded", "recall", "text-log", "index", "answer", "confidence", "ingest", "storage", "codecs")
_PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", bytes: "bytes"}
_LARGEST = 2**63 - 1


def main() -> None:
    """Writes all pages; with `--check`, names those that are stale and exits with 1."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="write nothing; say which pages are stale")
    check = parser.parse_args().check
    stale = {path: text for path, text in pages() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        if not check:
            path.write_text(text)
        print(f"{path.relative_to(ROOT)} {'is stale; run python docs/generate.py' if check else 'is written'}")
    sys.exit(bool(stale) and check)


def pages() -> Iterator[tuple[Path, str]]:
    """Every page that is made here, as it should be."""
    yield ROOT / "docs/wire.md", wire_page()
    yield ROOT / "docs/configuration.md", configuration_page()
    yield ROOT / "docs/figures.md", figures_page()
    yield ROOT / "README.md", with_headlines((ROOT / "README.md").read_text())


def wire_page() -> str:
    """Every message, field, limit and error code."""
    requests, replies = typing.get_args(protocol.Request), typing.get_args(protocol.Reply)
    messages = [*requests, *replies, protocol.Event]
    structs = [each for each in vars(protocol).values() if isinstance(each, type) and issubclass(each, msgspec.Struct)]
    limits = [
        ("bytes of a request", protocol.MAX_REQUEST_BYTES),
        ("bytes of a reply or an event", protocol.MAX_REPLY_BYTES),
        ("characters of a question", protocol.MAX_QUESTION_CHARACTERS),
        ("characters of a time in words", protocol.MAX_TIME_CHARACTERS),
    ]
    said = (inspect.getdoc(protocol) or "").removeprefix("The wire: ")
    lines = ["# The wire", MADE_BY, "", said[0].upper() + said[1:], ""]
    lines += [
        "A message is one MessagePack map: its `type`, and its fields by name. Unknown fields are ignored. A client's",
        "DEALER socket talks to the daemon's ROUTER (`server.address`), its SUB socket hears the events",
        "(`server.events_address`). A field without a default must be there.",
        "",
        *_table("limit", "at most", rows=[[text, f"{value:,}"] for text, value in limits]),
    ]
    for heading, some in (
        ("Requests", requests),
        ("Replies", replies),
        ("Events", [protocol.Event]),
        ("Parts of messages", [each for each in structs if each not in messages]),
        ("Error codes", []),
    ):
        lines += ["", f"## {heading}", *(line for struct in some for line in _message(struct))]
    return "\n".join([*lines, "", *_table("code", "meaning", rows=_error_codes()), ""])


def _message(struct: type) -> list[str]:
    said, about = _docstring(struct)
    fields = [_field(field, about.get(field.name, "")) for field in msgspec.structs.fields(struct)]
    return ["", f"### {struct.__name__}", "", said, "", *fields]


def _error_codes() -> list[list[str]]:
    """Each code with what it means; the first class of those that share one says it."""
    found = {"memory": StorageError.__doc__, "internal": "A mistake in the daemon itself; its log has the traceback."}
    for each in [*vars(errors).values(), *RetrievalError.__subclasses__()]:
        if isinstance(each, type) and issubclass(each, Exception) and getattr(each, "code", "error") != "error":
            found.setdefault(each.code, each.__doc__)
    return [[f"`{code}`", (meaning or "").splitlines()[0]] for code, meaning in sorted(found.items())]


def configuration_page() -> str:
    """Every key with its default, what is allowed, and its sentence in configs/camera.toml."""
    lines = [
        "# The configuration file",
        MADE_BY,
        "",
        "A TOML file. Every table and every key may be left out, except a stream's `url`. `longwatch validate FILE`",
        "says in one sentence what is wrong in a file: the key, its value and what is allowed. The daemon reads the",
        "file when it starts, and not again.",
    ]
    values, comments = _commented(CAMERA)
    for table in msgspec.structs.fields(DaemonConfig):
        several = typing.get_args(table.type)  # of a map of streams, the names' type and the streams'
        struct, name = (several[1], f"{table.name}.NAME") if several else (table.type, table.name)
        lines += ["", f"## [{name}]", "", _docstring(struct)[0], ""]
        for field in msgspec.structs.fields(struct):
            key = f"{table.name}.{field.encode_name}"
            lines.append(_field(field, comments.get(key, "")))
            if not field.required and tomllib.loads(f"x = {values[key]}") != {"x": _plain(_default(field))}:
                lines[-1] += f" `configs/camera.toml` has {values[key]}."
    said, about = _docstring(FadeStep)
    steps = [_field(field, about[field.name]) for field in msgspec.structs.fields(FadeStep)]
    return "\n".join([*lines, "", "## A step of `memory.fade`", "", said, "", *steps, ""])


def figures_page() -> str:
    """A table for each measurement."""
    lines = [
        "# Figures",
        MADE_BY,
        "",
        "Every measured figure with the command that makes it again, from the JSON in",
        "[benchmarks/results](../benchmarks/results). `commit` is where a figure entered the project. Such machines",
        "are noisy, so mind the ratios more than the milliseconds. If a target was missed, the lines below say why.",
        "`oracle` is a retriever that is handed the true blocks; `rekv` is ReKV's ranking, on the same memory.",
    ]
    for found in _measurements():
        where = f"`{found['command']}`, on {found['machine']}. {found.get('about', '')} {found.get('note', '')}"
        lines += ["", f"## {found['title']}", "", *textwrap.wrap(where, 118), ""]
        columns = ("claim", "ours", "baseline", "target", "commit")
        lines += _table(*columns, rows=[[figure[each] for each in columns] for figure in found["figures"]])
        if "shortfall" in found:
            lines += ["", *textwrap.wrap(f"Short: {found['shortfall']}", 118)]
    return "\n".join([*lines, ""])


def with_headlines(readme: str) -> str:
    """The README with its table of figures as it should be."""
    figures = [figure for each in _measurements() for figure in each["figures"] if "headline" in figure]
    figures = sorted((figure | figure["headline"] for figure in figures), key=lambda each: each["rank"])
    columns = ("claim", "ours", "baseline", "target")
    table = _table(*columns, rows=[[figure[each] for each in columns] for figure in figures])
    before, _, rest = readme.partition(BEGIN)
    return "\n".join([f"{before}{BEGIN}", *table, END]) + rest.partition(END)[2]


def _measurements() -> list[dict[str, Any]]:
    """All of benchmarks/results, what matters most to a reader first."""

    def place(path: Path) -> tuple[int, str]:
        return next((i for i, name in enumerate(_FIRST) if path.stem.startswith(name)), len(_FIRST)), path.stem

    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"), key=place)]


def _table(*headings: str, rows: list[list[str]]) -> list[str]:
    lines = [list(headings), ["---"] * len(headings), *rows]
    return [f"| {' | '.join(cell or '–' for cell in cells)} |" for cells in lines]


def _field(field: msgspec.structs.FieldInfo, about: str) -> str:
    default = "" if field.required else f", default {_shown(_default(field))}"
    return f"- `{field.encode_name}` ({_kind(field.type)}{default})" + (f": {about}" if about else "")


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default_factory() if field.default is msgspec.NODEFAULT else field.default


def _plain(value: Any) -> Any:
    """As TOML would have it."""
    return list(value) if isinstance(value, tuple) else value


def _kind(annotation: Any) -> str:
    """A type as people say it."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _limited(_kind(arguments[0]), arguments[1])
    if origin is typing.Literal:
        return "one of " + ", ".join(f"`{value}`" for value in arguments)
    if origin in (types.UnionType, typing.Union):
        inner = [_kind(each) for each in arguments if each is not types.NoneType]
        return " or ".join(inner) + ", or nothing" * (len(inner) < len(arguments))
    if origin in (list, tuple):
        return f"list of {_kind(arguments[0])}"
    if origin is dict:
        return f"map of {_kind(arguments[0])} to {_kind(arguments[1])}"
    return "anything" if annotation is Any else _PLAIN.get(annotation) or f"`{annotation.__name__}`"


def _limited(kind: str, meta: msgspec.Meta) -> str:
    """A type with the limits of its values: `whole number, 1 to 8`."""
    if meta.pattern is not None:
        return meta.description or f"text: {protocol.NAMES}"
    unit = " characters" if meta.max_length is not None else ""
    low = meta.min_length if unit else meta.ge
    high = meta.max_length if unit else meta.le
    bounds = [f"above {meta.gt:,}"] if meta.gt is not None else [f"from {low:,}"] if low is not None else []
    if high is not None:
        bounds.append(
            f"{'to' if low is not None else 'at most'} {'2^63 - 1' if high == _LARGEST else f'{high:,}'}{unit}"
        )
    return f"{kind}, {(' ' if low is not None else ', ').join(bounds)}"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int | float):
        return f"`{value:,}`"
    return "empty" if value is not None else "nothing"


def _docstring(struct: type) -> tuple[str, dict[str, str]]:
    """What a class says of itself, and of each attribute."""
    source = ast.parse(inspect.getsource(struct)).body[0]
    assert isinstance(source, ast.ClassDef)
    said, _, attributes = (ast.get_docstring(source) or "").partition("\n\nAttributes:\n")
    about: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \w)", attributes.rstrip()):
        names, _, text = entry.strip().partition(": ")
        about |= {name.strip(): " ".join(text.split()) for name in names.split(",")}
    return said, about


def _commented(file: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The value and the comment of each key of a TOML file; a comment may go on in lines of its own."""
    values: dict[str, str] = {}
    comments: dict[str, str] = {}
    table = key = ""
    for line in file.read_text().splitlines():
        if header := re.match(r"\[(\w+)", line):
            table = header[1]
        elif said := re.match(r"""(\w+) = ("[^"]*"|[^#"]*[^#" ]) *(?:# (.*))?$""", line):
            key = f"{table}.{said[1]}"
            values[key], comments[key] = said[2], said[3] or ""
        elif more := re.match(r" +# (.*)$", line):
            comments[key] += f" {more[1]}"
    return values, {key: text + "." * (bool(text) and not text.endswith("]")) for key, text in comments.items()}


if __name__ == "__main__":
    main()
