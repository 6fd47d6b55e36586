"""The page docs/wire.md: every message, field, limit and error code."""

from __future__ import annotations

import inspect
import typing

import msgspec
from fields import describe, read_docstring
from markdown import MADE_BY, table

from longwatch.daemon import errors, protocol
from longwatch.memory.errors import StorageError
from longwatch.retrieval.errors import RetrievalError


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
        *table("limit", "at most", rows=[[text, f"{value:,}"] for text, value in limits]),
    ]
    for heading, some in (
        ("Requests", requests),
        ("Replies", replies),
        ("Events", [protocol.Event]),
        ("Parts of messages", [each for each in structs if each not in messages]),
        ("Error codes", []),
    ):
        lines += ["", f"## {heading}", *(line for struct in some for line in _message(struct))]
    return "\n".join([*lines, "", *table("code", "meaning", rows=_error_codes()), ""])


def _message(struct: type) -> list[str]:
    said, about = read_docstring(struct)
    fields = [describe(field, about.get(field.name, "")) for field in msgspec.structs.fields(struct)]
    return ["", f"### {struct.__name__}", "", said, "", *fields]


def _error_codes() -> list[list[str]]:
    """Each code with what it means; the first class of those that share one says it."""
    found = {"memory": StorageError.__doc__, "internal": "A mistake in the daemon itself; its log has the traceback."}
    for each in [*vars(errors).values(), *RetrievalError.__subclasses__()]:
        if isinstance(each, type) and issubclass(each, Exception) and getattr(each, "code", "error") != "error":
            found.setdefault(each.code, each.__doc__)
    return [[f"`{code}`", (meaning or "").splitlines()[0]] for code, meaning in sorted(found.items())]
