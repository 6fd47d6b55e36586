"""`DaemonConfig`: a configuration file, checked before anything heavy loads."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from ..memory.settings import MemoryConfig
from ..retrieval.settings import RetrievalConfig
from .capture.settings import SourceConfig
from .errors import ConfigError
from .model.settings import ModelConfig
from .protocol import StreamName
from .settings import ServerConfig

T = TypeVar("T")


class LogConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[log]` table.

    Attributes:
        level: what is worth a line.
        json: a JSON object a line, for machines.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    json: bool = False


class DaemonConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All tables of a configuration file; each may be left out."""

    model: ModelConfig = ModelConfig()
    memory: MemoryConfig = MemoryConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    server: ServerConfig = ServerConfig()
    log: LogConfig = LogConfig()
    streams: dict[StreamName, SourceConfig] = {}


def load_config(path: Path) -> DaemonConfig:
    """Reads and checks a TOML file.

    Raises:
        ConfigError: it cannot be read, or a key or value is wrong; the sentence names file, key and what is allowed.
    """
    try:
        content = tomllib.loads(path.read_text())
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: this is not TOML: {exc}") from exc
    return convert(content, DaemonConfig, str(path))


def convert(content: Any, wanted: type[T], where: str) -> T:
    """Checked structs from plain tables.

    Raises:
        ConfigError: see `load_config`; `where` begins the sentence.
    """
    try:
        return msgspec.convert(content, wanted)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{where}: {_explain(str(exc), content)}") from exc


def _explain(message: str, content: Any) -> str:
    """msgspec's sentence with the key in our words, the value, and for a slip the key that was meant."""
    text, _, place = message.partition(" - at `")
    key = place.rstrip("`").removeprefix("$").removeprefix(".")
    if found := re.match(r"Object contains unknown field `(.+)`", text):
        unknown = found[1]
        near = difflib.get_close_matches(unknown, _known_keys(), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"unknown key {key + '.' if key else ''}{unknown}{hint}"
    if place.startswith("key` in"):
        return f"{place.rpartition('$.')[2].rstrip('`')}: names are of a-z, 0-9, _ and -, 64 at most"
    value = content
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    shown = "" if value is None else f" is {value!r}, but"
    return f"{key}{shown} {text[0].lower()}{text[1:]}"


def _known_keys() -> list[str]:
    tables = (DaemonConfig, ModelConfig, MemoryConfig, RetrievalConfig, ServerConfig, LogConfig, SourceConfig)
    return [field for table in tables for field in table.__struct_fields__]
