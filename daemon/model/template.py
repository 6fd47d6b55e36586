"""`ChatTemplate`: a checkpoint's chat template, which is a stranger's program and is rendered where it can do no harm.

It is rendered once, at load, in a sandbox in a child process with limits. No template runs for a question.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ..errors import ModelError

_CHILD = Path(__file__).with_name("template_child.py")
_SECONDS = 30.0  # the child may compute for five
_MOST_CHARACTERS = 256 << 10
_PASSED_ON = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")


class Chat(NamedTuple):
    """Messages in the form that templates expect, and whether the model is to answer them."""

    messages: Sequence[dict[str, Any]]
    to_answer: bool


class ChatTemplate:
    """A template with the names it may use.

    Args:
        text: in Jinja's language.
        names: the special tokens, by the template's names for them: `bos_token`.
    """

    def __init__(self, text: str, names: Mapping[str, str]) -> None:
        self._text, self._names = text, names

    def render(self, chats: Sequence[Chat]) -> list[str | ModelError]:
        """Renders each chat as text. Where a chat cannot be rendered, returns the error in its place.

        Raises:
            ModelError: it takes too long, or is too large.
        """
        if len(self._text) > _MOST_CHARACTERS:
            raise _refusal(f"it has {len(self._text)} characters; the limit is {_MOST_CHARACTERS}")
        request = {"template": self._text, "names": self._names, "chats": [chat._asdict() for chat in chats]}
        child = subprocess.Popen(
            [sys.executable, "-P", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        )
        too_long = threading.Timer(_SECONDS, child.kill)  # `communicate(timeout=…)` would poll
        too_long.start()
        try:
            out, err = child.communicate(msgspec.json.encode(request))
        finally:
            too_long.cancel()
        if child.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            raise _refusal("it takes too long")
        if child.returncode:
            raise _refusal(err.decode(errors="replace").strip().rpartition("\n")[2] or f"{child.returncode}")
        rendered = msgspec.json.decode(out, type=list[dict[str, str]])
        return [chat["text"] if "text" in chat else _refusal(chat["error"]) for chat in rendered]


def _refusal(why: str) -> ModelError:
    return ModelError(f"model.name: the checkpoint's chat template cannot be rendered ({why[:200]})")
