"""Renders a chat template in a process of its own with limits on time and memory; see `template.py`.

Imports nothing of longwatch. Standard input: `{"template", "names", "chats": [{"messages", "to_answer"}]}`. Standard
output: a list with a `{"text"}` or `{"error"}` for each chat.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

_CPU_SECONDS, _MEMORY_BYTES, _MOST_CHARACTERS = 5, 512 << 20, 64 << 10


class Generation(Extension):
    """`{% generation %}` marks what a model is trained on. Here it renders its content and nothing else."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The statements up to `{% endgeneration %}`."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class PlainNamespace(Namespace):
    """A namespace that keeps a template away from names with underscores. Its `__init__` lets a template set `self`."""

    def __init__(*args: Any, **values: Any) -> None:
        for name in dict(*args[1:], **values):
            _refuse_underscore(name)
        Namespace.__init__(*args, **values)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_underscore(name)
        super().__setitem__(name, value)


def make_environment() -> ImmutableSandboxedEnvironment:
    """What transformers gives its templates, except tools and documents."""
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    made.filters["tojson"] = _tojson
    made.globals |= {"raise_exception": _raise, "strftime_now": _now, "namespace": PlainNamespace, "dict": _dict}
    return made


def render(request: Mapping[str, Any]) -> list[dict[str, str]]:
    """Renders each chat as text, or says why that fails."""
    rendered = []
    try:
        template = make_environment().from_string(request["template"])
    except (TemplateError, RecursionError) as exc:
        return [{"error": str(exc)}] * len(request["chats"])
    for chat in request["chats"]:
        try:
            pieces = template.generate(
                **request["names"],
                messages=chat["messages"],
                tools=None,
                documents=None,
                add_generation_prompt=chat["to_answer"],
            )
            rendered.append({"text": _join(pieces)})
        except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as exc:
            rendered.append({"error": str(exc)})
        except (MemoryError, RecursionError):
            rendered.append({"error": "it wants too much memory"})
    return rendered


def _join(pieces: Iterable[str]) -> str:
    text = ""
    for piece in pieces:
        text += piece
        if len(text) > _MOST_CHARACTERS:
            raise ValueError(f"it writes more than {_MOST_CHARACTERS} characters")
    return text


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **more)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


def _dict(*args: Any, **values: Any) -> dict[Any, Any]:
    return dict(*args, **values)


def _refuse_underscore(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a template cannot store {name!r}")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    json.dump(render(json.load(sys.stdin)), sys.stdout)
