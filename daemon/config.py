"""`DaemonConfig`: a configuration file, checked before anything heavy loads."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ..memory.settings import MemoryConfig
from ..retrieval.settings import RetrievalConfig
from .capture.child import CaptureChild
from .capture.settings import SourceConfig
from .errors import CaptureError, ConfigError
from .mistake import explain_mistake
from .model.settings import ModelConfig
from .protocol import StreamName
from .settings import LogConfig, ServerConfig, check_addresses

T = TypeVar("T")


class DaemonConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All tables of a configuration file. Each may be left out."""

    model: ModelConfig = ModelConfig()
    memory: MemoryConfig = MemoryConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    server: ServerConfig = ServerConfig()
    log: LogConfig = LogConfig()
    streams: dict[StreamName, SourceConfig] = {}


def load_config(path: Path) -> DaemonConfig:
    """Reads and checks a TOML file. A path in it may begin with `~/`, the home folder of the user.

    Raises:
        ConfigError: the file cannot be read, or a key or value is wrong; the message names file and key, and says what
            is allowed.
        CaptureError: a stream's address or start time is not valid.
    """
    content = _with_home(_read(path))
    streams = content.get("streams")
    for name, table in streams.items() if isinstance(streams, dict) else ():
        convert(table, SourceConfig, str(path), f"streams.{name}")  # by itself, so that a mistake names the stream
    config = convert(content, DaemonConfig, str(path))
    check_addresses(config.server)
    if config.retrieval.retriever == "external" and not config.retrieval.embedding:
        raise ConfigError(
            f"{path}: retrieval.retriever is 'external', but retrieval.embedding is empty; name a CLIP or SigLIP model"
            " there (a Hugging Face id or a folder), or choose another retriever"
        )
    for name, source in config.streams.items():
        _check_source(source, f"{path}: streams.{name}")
    return config


def convert(content: Any, wanted: type[T], where: str, table: str = "") -> T:
    """Makes checked structs of plain tables.

    Args:
        where: the message of an error begins with it.
        table: what `content` is called in the message.

    Raises:
        ConfigError: a key or value is wrong.
    """
    try:
        converted = msgspec.convert(content, wanted)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{where}: {explain_mistake(exc, content, wanted, table)}") from exc
    for key, number in _infinite_numbers(content, table):
        raise ConfigError(f"{where}: {key} is {number}, but must be a finite number")
    return converted


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: not a valid TOML file: {exc}") from exc


def _with_home(value: Any) -> Any:
    """A TOML value whose paths that begin with `~/` lead to the home folder. No other text begins so."""
    if isinstance(value, dict):
        return {key: _with_home(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_home(inner) for inner in value]
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith("~/") else value


def _check_source(source: SourceConfig, where: str) -> None:
    try:
        CaptureChild(source)  # raises if it cannot be a source; starts nothing
        source.zone()
    except CaptureError as exc:
        raise CaptureError(f"{where}: {exc}") from exc
    except ConfigError as exc:
        raise ConfigError(f"{where}.{exc}") from exc


def _infinite_numbers(content: Any, key: str) -> Iterator[tuple[str, float]]:
    """The keys whose value is `inf` or `nan`: TOML and the wire can write these, but no key of ours can mean them."""
    if isinstance(content, float) and not math.isfinite(content):
        yield key, content
    inner: Iterable[tuple[str, Any]] = ()
    if isinstance(content, Mapping):
        inner = ((f"{key}.{name}".removeprefix("."), value) for name, value in content.items())
    elif isinstance(content, list):
        inner = ((f"{key}[{place}]", value) for place, value in enumerate(content))
    for name, value in inner:
        yield from _infinite_numbers(value, name)
