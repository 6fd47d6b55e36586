"""`QUESTION_KINDS`: all kinds of question about the yard, by their names.

The same questions teach the embedded model and fill the demo and the benchmarks, so none of these can choose its own.
Every kind is balanced: absent things are asked about as often as present ones, closed doors as often as open ones, and
where there are a few possible answers, each comes as often as the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from .asker import Asker
from .kind import Kind
from .moment_kinds import DeviceState, SignDigit, ThingCount, ThingsThere
from .question import DONT_KNOW, Question
from .span_kinds import ArrivalCount, Arrivals
from .state import COLOURS, DOOR_CELL, GATE_CELL, KINDS, LAMP_CELL
from .thing_kinds import Appearance, CarrierOf, ColourOf, ExtraOf, KindOf, OrderOf, SideOf, TimeOf


@dataclass(frozen=True)
class Unknown(Kind):
    """What nobody could tell from the yard."""

    def draw(self, asker: Asker) -> Question:
        """See `Kind.draw`."""
        words = asker.missing_words
        return asker.phrase(
            self.name,
            DONT_KNOW,
            [],
            word=asker.pick(words),
            word2=asker.pick(words),
            name=asker.pick(KINDS),
            colour=asker.pick(COLOURS),
            thing=f"{asker.pick(COLOURS)} {asker.pick(KINDS)}",
            device=asker.pick(("door", "lamp", "gate", "sign", "camera", "yard")),
            t=asker.pick_clock(int(asker.rng.integers(len(asker.moments)))),
        )


def _about_moment(when: str, *, now: bool) -> Iterable[Kind]:
    """Kinds that are asked about now and about a time."""
    yield DeviceState(f"door {when}", now, DOOR_CELL, lambda state: state.door_open, ("open", "closed"))
    yield DeviceState(f"lamp {when}", now, LAMP_CELL, lambda state: state.lamp_on, ("on", "off"))
    yield DeviceState(f"gate {when}", now, GATE_CELL, lambda state: state.gate_open, ("open", "closed"))
    yield SignDigit(f"sign {when}", now)
    yield ThingsThere(f"there {when}", now)


_KINDS: tuple[Kind, ...] = (
    *_about_moment("now", now=True),
    ThingCount("count now"),
    *_about_moment("then", now=False),
    Appearance("appear"),
    ColourOf("colour"),
    KindOf("kind"),
    SideOf("side"),
    ExtraOf("extra"),
    TimeOf("when", first=True),
    TimeOf("last", first=False),
    OrderOf("order"),
    CarrierOf("left"),
    ArrivalCount("came"),
    Arrivals("happened"),
    Unknown("unknown"),
)
QUESTION_KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _KINDS}
NOW_KINDS = tuple(name for name in QUESTION_KINDS if name.endswith(" now"))


def draw_each(
    asker: Asker, kinds: Iterable[str], each: int, is_fair: Callable[[Question], bool], tries: int = 200
) -> list[Question]:
    """So many different questions of each kind, of those that are fair; fewer where so many tries find no more."""
    drawn: list[Question] = []
    for name in kinds:
        found: dict[tuple[str, str], Question] = {}
        for _ in range(tries):
            question = QUESTION_KINDS[name].draw(asker)
            if question is not None and is_fair(question):
                found.setdefault((question.text.rstrip("?"), question.answer), question)
            if len(found) == each:
                break
        drawn += found.values()
    return drawn


def agrees(question: Question, answer: str) -> bool:
    """Whether an answer to a question is right."""
    return QUESTION_KINDS[question.kind].agrees(question.answer, answer)
