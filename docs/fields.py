"""A struct's fields as people read them: what they may be, what they are if nobody says, and what they mean."""

from __future__ import annotations

import ast
import inspect
import re
import types
import typing
from typing import Any

import msgspec

from longwatch.daemon import protocol

_PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", bytes: "bytes"}
_LARGEST = 2**63 - 1


def describe(field: msgspec.structs.FieldInfo, about: str) -> str:
    """A field as an item of a list."""
    default = "" if field.required else f", default {_shown(default_of(field))}"
    return f"- `{field.encode_name}` ({_kind(field.type)}{default})" + (f": {about}" if about else "")


def default_of(field: msgspec.structs.FieldInfo) -> Any:
    """What a field is if nobody says."""
    return field.default_factory() if field.default is msgspec.NODEFAULT else field.default


def read_docstring(struct: type) -> tuple[str, dict[str, str]]:
    """What a class says of itself, and of each attribute."""
    source = ast.parse(inspect.getsource(struct)).body[0]
    assert isinstance(source, ast.ClassDef)
    said, _, attributes = (ast.get_docstring(source) or "").partition("\n\nAttributes:\n")
    about: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \w)", attributes.rstrip()):
        names, _, text = entry.strip().partition(": ")
        about |= {name.strip(): " ".join(text.split()) for name in names.split(",")}
    return said, about


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
        most = "2^63 - 1" if high == _LARGEST else f"{high:,}"
        bounds.append(f"to {most}{unit}" if low is not None else f"at most {most}{unit}")
    return f"{kind}, {(' ' if low is not None else ', ').join(bounds)}"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int | float):
        return f"`{value:,}`"
    return "empty" if value is not None else "nothing"
