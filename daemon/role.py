"""`Role`: what the owner of a key may do, as the file of the key says."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Role = Literal["ask", "manage"]
_BEGUN = re.compile(r"""\s*["']?role""", re.IGNORECASE)
_RIGHT = re.compile(r'\s*role\s*=\s*"(ask|manage)"\s*')


class WrittenRole(NamedTuple):
    """What the file of a key says.

    Attributes:
        role: the lowest that any of its lines says. `manage` if no line does: older versions wrote none.
        lines: how many lines are about a role.
        wrong: the first of them that cannot be read, which makes the role `ask`; empty if there is none.
    """

    role: Role
    lines: int
    wrong: str


def read_role(content: str) -> WrittenRole:
    """Reads the content of a key's file. A role that is mistyped never gives more rights than was meant."""
    lines = [line for line in content.splitlines() if _BEGUN.match(line)]
    found = [_RIGHT.fullmatch(line) for line in lines]
    wrong = next((line.strip() for line, right in zip(lines, found, strict=True) if right is None), "")
    manages = all(right is not None and right[1] == "manage" for right in found)
    return WrittenRole("manage" if manages else "ask", len(lines), wrong)
