"""The page docs/configuration.md, from the configuration's structs and the comments in configs/camera.toml."""

from __future__ import annotations

import re
import tomllib
import typing
from pathlib import Path
from typing import Any

import msgspec
from fields import default_of, describe, read_docstring
from markdown import MADE_BY

from longwatch.daemon.config import DaemonConfig
from longwatch.memory.settings import FadeStep

CAMERA = Path(__file__).parents[1] / "configs" / "camera.toml"


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
    for part in msgspec.structs.fields(DaemonConfig):
        several = typing.get_args(part.type)  # of a map of streams, the names' type and the streams'
        struct, name = (several[1], f"{part.name}.NAME") if several else (part.type, part.name)
        lines += ["", f"## [{name}]", "", read_docstring(struct)[0], ""]
        for field in msgspec.structs.fields(struct):
            key = f"{part.name}.{field.encode_name}"
            lines.append(describe(field, comments.get(key, "")))
            if not field.required and tomllib.loads(f"x = {values[key]}") != {"x": _plain(default_of(field))}:
                lines[-1] += f" `configs/camera.toml` has {values[key]}."
    said, about = read_docstring(FadeStep)
    steps = [describe(field, about[field.name]) for field in msgspec.structs.fields(FadeStep)]
    return "\n".join([*lines, "", "## A step of `memory.fade`", "", said, "", *steps, ""])


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


def _plain(value: Any) -> Any:
    """As TOML would have it."""
    return list(value) if isinstance(value, tuple) else value
