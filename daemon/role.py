"""`Role`: what the owner of a key may do, as the key's file says it."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Role = Literal["ask", "manage"]
_BEGUN = re.compile(r"""\s*["']?role""", re.IGNORECASE)
_RIGHT = re.compile(r'\s*role\s*=\s*"(ask|manage)"\s*')


class SaidRole(NamedTuple):
    """What a key's file says.

    Attributes:
        role: the least that any of its lines says; `manage` where none does, as older versions made them.
        lines: how many lines speak of a role.
        wrong: the first of them that cannot be read, which makes the role `ask`; empty where there is none.
    """

    role: Role
    lines: int
    wrong: str


def role_in(content: str) -> SaidRole:
    """Reads a key's file. Whoever meant to write a role, and slipped, has not given more than was meant."""
    lines = [line for line in content.splitlines() if _BEGUN.match(line)]
    found = [_RIGHT.fullmatch(line) for line in lines]
    wrong = next((line.strip() for line, right in zip(lines, found, strict=True) if right is None), "")
    manages = all(right is not None and right[1] == "manage" for right in found)
    return SaidRole("manage" if manages else "ask", len(lines), wrong)
