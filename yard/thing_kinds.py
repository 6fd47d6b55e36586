"""Kinds of question about one thing, or two, among all that came.

Kinds that take for granted that a thing was there ("what colour was the van?") ask every fifth time about one that was
not. They ask only about things of which there is one answer: about a car's colour only where one car came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from .asker import Asker
from .kind import Kind, trim, yes_or_no
from .moment import clock
from .question import Place, Question
from .state import BELONGINGS, CELL_WIDTH, COLOURS, KINDS, Look, State

ABSENT_SHARE = 0.2
TOLERANCE_SECONDS = 5.0
_EXTRAS = {"": "nothing", "hat": "a hat", "umbrella": "an umbrella"}


@dataclass(frozen=True)
class Appearance(Kind):
    """Whether a thing came; half the time it did."""

    def draw(self, asker: Asker) -> Question | None:
        """See `Kind.draw`."""
        came = bool(asker.whole) and asker.rng.random() < 0.5
        look = asker.pick(asker.whole) if came else asker.pick_absent()
        if look is None:
            return None
        shown = [asker.places(look)] if came else []
        return asker.phrase(self.name, yes_or_no(came), shown, a_thing=look.with_article)


@dataclass(frozen=True)
class ColourOf(Kind):
    """What colour the only thing of a kind had."""

    def draw(self, asker: Asker) -> Question | None:
        """See `Kind.draw`."""
        kinds = [look.kind for look in asker.glimpsed]
        if asker.rng.random() < ABSENT_SHARE:
            missing = [kind for kind in KINDS if kind not in kinds]
            if not missing:
                return None
            kind = asker.pick(missing)
            return asker.phrase(self.name, f"i saw no {kind}", [], name=kind)
        fair = [look for look in asker.whole if kinds.count(look.kind) == 1]
        if not fair:
            return None
        look = asker.pick_by(fair, lambda look: look.colour)
        return asker.phrase(self.name, look.colour, [asker.places(look)], name=look.kind)


@dataclass(frozen=True)
class KindOf(Kind):
    """What kind of thing the only one of a colour was."""

    def draw(self, asker: Asker) -> Question | None:
        """See `Kind.draw`."""
        colours = [look.colour for look in asker.glimpsed]
        if asker.rng.random() < ABSENT_SHARE:
            missing = [colour for colour in COLOURS if colour not in colours]
            return asker.phrase(self.name, "nothing", [], colour=asker.pick(missing)) if missing else None
        fair = [look for look in asker.whole if colours.count(look.colour) == 1]
        if not fair:
            return None
        look = asker.pick_by(fair, lambda look: look.kind)
        return asker.phrase(self.name, f"a {look.kind}", [asker.places(look)], colour=look.colour)


@dataclass(frozen=True)
class SideOf(Kind):
    """On which side of the picture a thing was, of those that kept to one."""

    def draw(self, asker: Asker) -> Question | None:
        """See `Kind.draw`."""
        sides = {look: {thing.side for _, thing in asker.sightings(look)} for look in asker.whole}
        answers = {look: f"on the {min(found)}" for look, found in sides.items() if len(found) == 1}
        return _draw_one_of(asker, self.name, answers)


@dataclass(frozen=True)
class ExtraOf(Kind):
    """What a person had with them."""

    def draw(self, asker: Asker) -> Question | None:
        """See `Kind.draw`."""
        persons = [look for look in asker.whole if look.kind == "person"]
        extras = {look: {thing.extra for _, thing in asker.sightings(look)} for look in persons}
        answers = {look: _EXTRAS[min(found)] for look, found in extras.items() if len(found) == 1}
        return _draw_one_of(asker, self.name, answers, ("person",))


@dataclass(frozen=True)
class TimeOf(Kind):
    """When a thing that came once was seen first, or last."""

    first: bool

    def draw(self, asker: Asker) -> Question | None:
        """See `Kind.draw`."""
        if asker.rng.random() < ABSENT_SHARE:
            return _draw_absent(asker, self.name)
        once = [look for look in asker.whole if not asker.came_twice(look)]
        if not once:
            return None
        look = asker.pick(once)
        i = asker.whole[look][0 if self.first else -1]
        answer = f"at {clock(asker.moments[i].time_ns)}"
        return asker.phrase(self.name, answer, [asker.places(look, [i])], thing=str(look))

    def agrees(self, truth: str, answer: str) -> bool:
        """A clock within the tolerance; where the truth is none, the same words."""
        if not truth.startswith("at "):
            return super().agrees(truth, answer)
        try:
            times = [datetime.strptime(text.removeprefix("at "), "%H:%M:%S") for text in (trim(answer), truth)]
        except ValueError:
            return False
        return abs((times[0] - times[1]).total_seconds()) <= TOLERANCE_SECONDS


@dataclass(frozen=True)
class OrderOf(Kind):
    """Which of two things that came once came first, or last."""

    def draw(self, asker: Asker) -> Question | None:
        """See `Kind.draw`."""
        once = [look for look in asker.whole if not asker.came_twice(look)]
        if len(once) < 2:
            return None
        one, other = asker.pick(once), asker.pick(once)
        glimpsed = asker.glimpsed[one], asker.glimpsed[other]
        seen = asker.whole[one][0], asker.whole[other][0]
        earlier = seen[0] < seen[1]
        if glimpsed[0] == glimpsed[1] or seen[0] == seen[1] or (glimpsed[0] < glimpsed[1]) != earlier:
            return None  # nobody could say, or the first glimpse says otherwise than the first full view
        end = asker.pick(("first", "last"))
        winner = one if earlier == (end == "first") else other
        places = {look: asker.places(look, asker.whole[look][:1]) for look in (one, other)}
        question = asker.phrase(
            self.name, f"the {winner}", [places[winner]], sorted(seen), end=end, one=str(one), other=str(other)
        )
        return question._replace(sought=(tuple(places[one]), tuple(places[other])))


@dataclass(frozen=True)
class CarrierOf(Kind):
    """Who brought, left or took a bag or a box."""

    def draw(self, asker: Asker) -> Question | None:
        """See `Kind.draw`."""
        verb = asker.pick(("left", "left", "took", "brought"))
        if asker.rng.random() < ABSENT_SHARE:
            return _draw_absent(asker, self.name, BELONGINGS, verb=verb)
        carriers = {look: found for look in asker.whole if (found := _find_carrier(asker, look, verb))}
        if not carriers:
            return None
        look = asker.pick(carriers)
        person, places = carriers[look]
        question = asker.phrase(self.name, person.with_article, [places], verb=verb, thing=str(look))
        return question._replace(sought=((*places, *asker.places(look, question.proof)),))


def _draw_one_of(
    asker: Asker, kind: str, answers: dict[Look, str], absent_kinds: Sequence[str] = KINDS
) -> Question | None:
    """A question about one of the things, or now and then an absent one; each answer is as likely as any other."""
    if asker.rng.random() < ABSENT_SHARE:
        return _draw_absent(asker, kind, absent_kinds)
    if not answers:
        return None
    look = asker.pick_by(list(answers), answers.__getitem__)
    return asker.phrase(kind, answers[look], [asker.places(look)], thing=str(look))


def _draw_absent(asker: Asker, kind: str, kinds: Sequence[str] = KINDS, **words: str) -> Question | None:
    """A question about a thing that was not there."""
    look = asker.pick_absent(kinds)
    return None if look is None else asker.phrase(kind, f"i saw no {look}", [], thing=str(look), **words)


def _find_carrier(asker: Asker, look: Look, verb: str) -> tuple[Look, list[Place]] | None:
    """The only person who did that with a thing, and where they are seen beside it; None where nobody could say."""
    persons = {thing.taken_by if verb == "took" else thing.left_by for _, thing in asker.sightings(look)} - {""}
    if len(persons) != 1:
        return None
    person = Look(persons.pop().split()[0], "person")
    places = [place for i in asker.whole[look] for place in _find_beside(asker.moments[i].state, i, look, person)]
    return (person, places) if places else None


def _find_beside(state: State, i: int, look: Look, person: Look) -> list[Place]:
    """Where a person is wholly seen right beside a thing."""
    things = [thing for thing in state.things if thing.look == look]
    return [
        Place(i, p.cell)
        for p in state.things
        if p.look == person
        and not p.half_seen
        and any(p.lane == thing.lane and abs(abs(p.x - thing.x) - CELL_WIDTH) < 2 for thing in things)
    ]
