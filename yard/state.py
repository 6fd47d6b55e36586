"""`State`: all that is true of the rendered yard at one moment, and the words for it.

The picture is a 4 × 4 grid of cells. The top row is the house and its fence: a door, a lamp, a gate
and a sign with a digit. The three rows below are lanes, far to near.
"""

from __future__ import annotations

from typing import NamedTuple

SECOND_NS = 1_000_000_000
WIDTH, HEIGHT = 384, 288
CELL_WIDTH, CELL_HEIGHT = 96, 72
DOOR_CELL, LAMP_CELL, GATE_CELL, SIGN_CELL = range(4)
VISITORS = ("person", "car", "van", "bicycle", "dog", "cat")
BELONGINGS = ("bag", "box")  # these come with a person, and may be left behind
KINDS = (*VISITORS, *BELONGINGS)
EXTRAS = ("hat", "umbrella")
COLOURS = {  # name: BGR
    "red": (40, 40, 215),
    "blue": (215, 90, 30),
    "green": (60, 165, 50),
    "yellow": (40, 220, 235),
    "white": (245, 245, 245),
    "black": (30, 28, 28),
    "orange": (20, 130, 250),
    "purple": (165, 45, 130),
}


def plural(kind: str) -> str:
    """`people`, `boxes`, `cars`."""
    return {"person": "people", "box": "boxes"}.get(kind, f"{kind}s")


class Look(NamedTuple):
    """Colour and kind: by these a thing is known again."""

    colour: str
    kind: str

    def __str__(self) -> str:
        return f"{self.colour} {self.kind}"

    @property
    def with_article(self) -> str:
        """`a red car`, `an orange car`."""
        return f"{'an' if self.colour == 'orange' else 'a'} {self}"


class Thing(NamedTuple):
    """Something that stands in the yard; `x` is its centre in pixels, `lane` 1 (far) to 3 (near)."""

    kind: str
    colour: str  # a person's is that of the coat
    lane: int
    x: float
    extra: str = ""  # what a person has besides: one of `EXTRAS`, or nothing
    left_by: str = ""  # who brought a bag or a box, and who will take it: "red person"
    taken_by: str = ""

    @property
    def look(self) -> Look:
        """What it is known by."""
        return Look(self.colour, self.kind)

    @property
    def cell(self) -> int:
        """The grid cell (0–15, row by row) that holds the centre."""
        return self.lane * 4 + min(3, max(0, int(self.x // CELL_WIDTH)))

    @property
    def side(self) -> str:
        """The half of the picture that holds the centre."""
        return "left" if self.x < WIDTH / 2 else "right"

    @property
    def half_seen(self) -> bool:
        """Whether the thing is cut by the picture's edge, so that nobody could name it fairly."""
        return not 30 <= self.x <= WIDTH - 30

    def __str__(self) -> str:
        return self.look.with_article


class State(NamedTuple):
    """All that is true of the yard at one moment; `things` row by row, left to right."""

    things: tuple[Thing, ...]
    door_open: bool
    lamp_on: bool
    gate_open: bool
    digit: int
    light: float = 1.0  # 1 at noon, about 0.45 at night
    rain: bool = False
    shake: tuple[int, int] = (0, 0)  # pixels right and down

    @property
    def fair(self) -> bool:
        """Whether every thing is wholly in the picture."""
        return not any(thing.half_seen for thing in self.things)
