"""`explain_mistake`: what is wrong with a key or a value of a table, in the words of the file it stands in."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import inspect

from .capture.address import in_short
from .protocol import NAMES, is_stream_name


def explain_mistake(error: msgspec.ValidationError, content: Any, wanted: type, table: str) -> str:
    """One sentence with the key, its value, and what is allowed; for a mistyped key, the one that was meant.

    Args:
        error: what msgspec found when it converted `content` to `wanted`.
        table: what `content` is called in the sentence; empty for a whole file.
    """
    text, _, place = str(error).partition(" - at `")
    inner = place.rstrip("`").removeprefix("$").removeprefix(".")
    key = ".".join(part for part in (table, inner) if part)
    if found := re.match(r"Object (contains unknown|missing required) field `(.+)`", text):
        full = in_short(f"{key}.{found[2]}" if key else found[2])
        if found[1] == "missing required":
            return f"{full} is missing"
        near = difflib.get_close_matches(found[2], _keys_at(wanted, inner), 1)
        return f"unknown key {full}" + (f"; did you mean {near[0]}?" if near else "")
    if place.startswith("key` in"):  # only streams have names of the user's
        table = place.rpartition("$.")[2].rstrip("`")
        wrong = next(name for name in content[table] if not is_stream_name(name))
        return f"{table}: {in_short(repr(wrong))} is not a valid name; {NAMES}"
    value, allowed = _value_at(content, inner), _type_at(wanted, inner)
    shown = "" if value is None else f" is {in_short(repr(value))}, but"
    return f"{key}{shown} must be {'different' if allowed is None else _describe(allowed)}"


def _describe(allowed: inspect.Type) -> str:
    """`a number from 0 to 1`, `true or false`, `one of real, fast`."""
    match allowed:
        case inspect.Metadata(extra_json_schema={"description": str(description)}):
            return description
        case inspect.Metadata():
            return _describe(allowed.type)
        case inspect.LiteralType():
            return f"one of {', '.join(map(str, allowed.values))}"
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() | inspect.FloatType():
            return ("a whole number" if isinstance(allowed, inspect.IntType) else "a number") + _describe_range(allowed)
        case inspect.StrType():
            return "text" + _describe_length(allowed)
        case inspect.ListType() | inspect.VarTupleType():
            return "a list"
        case _:
            return "a table"


def _describe_range(number: inspect.IntType | inspect.FloatType) -> str:
    least, most = number.ge, number.le
    if least is not None and most is not None:
        return f" from {least:.15g} to {most:.15g}"
    above = "" if number.gt is None else f" above {number.gt:.15g}"
    least_of = "" if least is None else f" of at least {least:.15g}"
    at_most = "" if most is None else f"{' and' if above else ' of'} at most {most:.15g}"
    return above + least_of + at_most


def _describe_length(text: inspect.StrType) -> str:
    least, most = text.min_length or 0, text.max_length
    if most is None:
        return f" of at least {least} characters" if least else ""
    return f" of {least} to {most} characters" if least else f" of at most {most} characters"


def _parts(inner: str) -> list[str]:
    """`fade[0].codec` → fade, 0, codec."""
    return re.findall(r"[^.\[\]]+", inner)


def _value_at(content: Any, inner: str) -> Any:
    """The value at a place of a table; None if the table has no such place."""
    value = content
    for part in _parts(inner):
        known = isinstance(value, Mapping) and part in value
        value = value[int(part)] if isinstance(value, list) else value[part] if known else None
    return value


def _type_at(wanted: type, inner: str) -> inspect.Type | None:
    """What a struct expects at a place; None if it has no such place."""
    info: inspect.Type | None = inspect.type_info(wanted)
    for part in _parts(inner):
        if isinstance(info, inspect.StructType):
            info = {field.encode_name: field.type for field in info.fields}.get(part)
        elif isinstance(info, inspect.DictType):
            info = info.value_type
        else:
            info = info.item_type if isinstance(info, inspect.ListType | inspect.VarTupleType) else None
    return info


def _keys_at(wanted: type, inner: str) -> list[str]:
    """The keys that a struct knows at a place."""
    info = _type_at(wanted, inner)
    return [field.encode_name for field in info.fields] if isinstance(info, inspect.StructType) else []
