"""`DaemonConfig`: a configuration file, checked before anything heavy loads."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import inspect

from ..memory.settings import MemoryConfig
from ..retrieval.settings import RetrievalConfig
from .capture.address import in_short
from .capture.child import CaptureChild
from .capture.settings import SourceConfig
from .errors import CaptureError, ConfigError
from .keyring import check_keys_folder
from .model.settings import ModelConfig
from .protocol import NAMES, StreamName, is_stream_name
from .reach import OWN, check_port
from .settings import ServerConfig

T = TypeVar("T")
_LOOPBACK = (OWN, "tcp://127.", "tcp://localhost:", "tcp://[::1]:", "ipc://")


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
        CaptureError: a stream's address or start is none.
    """
    try:
        content = tomllib.loads(path.read_text())
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: this is not TOML: {exc}") from exc
    streams = content.get("streams")
    for name, table in streams.items() if isinstance(streams, dict) else ():
        convert(table, SourceConfig, str(path), f"streams.{name}")  # on its own, so that the sentence says its name
    config = convert(content, DaemonConfig, str(path))
    check_addresses(config.server)
    if config.retrieval.retriever == "external" and not config.retrieval.embedding:
        raise ConfigError(
            f"{path}: retrieval.retriever is 'external', but retrieval.embedding is empty; name a CLIP or SigLIP model"
            " there (a Hugging Face id or a folder), or take another retriever"
        )
    for name, source in config.streams.items():
        try:
            CaptureChild(source)  # raises where no source could be made of it; starts nothing
        except CaptureError as exc:
            raise CaptureError(f"{path}: streams.{name}: {exc}") from exc
        try:
            source.zone()
        except ConfigError as exc:
            raise ConfigError(f"{path}: streams.{name}.{exc}") from exc
    return config


def check_addresses(server: ServerConfig) -> None:
    """Lets nobody open the daemon to a network without keys.

    Raises:
        ConfigError: an address is not loopback, and there is no keys folder; an address has no port that there is, or
            both are one; or the keys folder is none.
    """
    for key in ("address", "events_address"):
        address = getattr(server, key)
        if not server.keys_folder and not address.startswith(_LOOPBACK):
            raise ConfigError(
                f"server.{key}: {address} is open to the network; set server.keys_folder (longwatch keys)"
            )
        try:
            check_port(address)
        except ConfigError as exc:
            raise ConfigError(f"server.{key}: {exc}") from exc
    same = server.address == server.events_address
    if same and server.address != OWN and not server.address.endswith((":*", ":0")):
        raise ConfigError(f"server.events_address: {server.address} is server.address too; give each one of its own")
    if server.keys_folder:
        check_keys_folder(Path(server.keys_folder))


def convert(content: Any, wanted: type[T], where: str, table: str = "") -> T:
    """Checked structs from plain tables.

    Args:
        where: begins the sentence of an error.
        table: what `content` is called in it.

    Raises:
        ConfigError: see `load_config`.
    """
    try:
        converted = msgspec.convert(content, wanted)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{where}: {_explain(str(exc), content, wanted, table)}") from exc
    for key, number in _without_end(content, table):
        raise ConfigError(f"{where}: {key} is {number}, but must be a number with an end")
    return converted


def _without_end(content: Any, key: str) -> Iterator[tuple[str, float]]:
    """The keys whose value is `inf` or `nan`, which TOML and the wire can write and no key of ours can mean."""
    if isinstance(content, float) and not math.isfinite(content):
        yield key, content
    inner: Iterable[tuple[str, Any]] = ()
    if isinstance(content, Mapping):
        inner = ((f"{key}.{name}".removeprefix("."), value) for name, value in content.items())
    elif isinstance(content, list):
        inner = ((f"{key}[{place}]", value) for place, value in enumerate(content))
    for name, value in inner:
        yield from _without_end(value, name)


def _explain(message: str, content: Any, wanted: type, table: str) -> str:
    """msgspec's sentence with the key in our words, the value, and for a slip the key that was meant."""
    text, _, place = message.partition(" - at `")
    inner = place.rstrip("`").removeprefix("$").removeprefix(".")
    key = ".".join(part for part in (table, inner) if part)
    if found := re.match(r"Object (contains unknown|missing required) field `(.+)`", text):
        full = in_short(f"{key}.{found[2]}" if key else found[2])
        if found[1] == "missing required":
            return f"{full} is missing"
        near = difflib.get_close_matches(found[2], _keys_of(wanted, inner), 1)
        return f"unknown key {full}" + (f"; did you mean {near[0]}?" if near else "")
    if place.startswith("key` in"):
        table = place.rpartition("$.")[2].rstrip("`")
        wrong = next(name for name in content[table] if not is_stream_name(name))
        return f"{table}: {in_short(repr(wrong))} is no name; {NAMES}"
    value = content
    for part in _parts(inner):
        known = isinstance(value, Mapping) and part in value
        value = value[int(part)] if isinstance(value, list) else value[part] if known else None
    shown = "" if value is None else f" is {in_short(repr(value))}, but"
    allowed = _type_at(wanted, inner)
    if isinstance(allowed, inspect.Metadata) and allowed.extra_json_schema and "regex" in text:
        return f"{key}{shown} must be {allowed.extra_json_schema['description']}"
    if isinstance(allowed, inspect.LiteralType):
        return f"{key}{shown} must be one of {', '.join(map(str, allowed.values))}"
    return f"{key}{shown} {text[0].lower()}{text[1:]}"


def _parts(inner: str) -> list[str]:
    """`fade[0].codec` → fade, 0, codec."""
    return re.findall(r"[^.\[\]]+", inner)


def _type_at(wanted: type, inner: str) -> inspect.Type | None:
    """What is expected at a place of a struct; None where it has no such place."""
    info: inspect.Type | None = inspect.type_info(wanted)
    for part in _parts(inner):
        if isinstance(info, inspect.StructType):
            info = {field.encode_name: field.type for field in info.fields}.get(part)
        elif isinstance(info, inspect.DictType):
            info = info.value_type
        else:
            info = info.item_type if isinstance(info, inspect.VarTupleType) else None
    return info


def _keys_of(wanted: type, inner: str) -> list[str]:
    """The keys of the table `inner` of a struct, or of the struct itself."""
    info = _type_at(wanted, inner)
    return [field.encode_name for field in info.fields] if isinstance(info, inspect.StructType) else []
