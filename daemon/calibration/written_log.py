"""`write_log`: a log of a yard in words, with facts planted in it that are easily mistaken for each other.

It needs no pictures, so it tests any language model on what it read long ago. Each thing is left two or three times, by
different people, in different colours, at different places and times. Half of them are taken away again by yet another
person. So each word of a question stands in many lines, but only one line has all of them. Some questions use another
word for the thing ("instrument" for a violin), so that a head that only looks for equal words finds nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

PEOPLE = (
    "Anna", "Boris", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Irene", "Jack", "Karen", "Louis", "Maria",
    "Nora", "Oscar", "Paula", "Rosa", "Simon", "Tina", "Victor",
)  # fmt: skip
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "orange", "purple", "grey")
THINGS = {
    "violin": "instrument", "hammer": "tool", "kettle": "kitchen thing", "bicycle": "vehicle", "jacket": "garment",
    "suitcase": "bag", "chair": "piece of furniture", "guitar": "instrument", "shovel": "tool", "pan": "kitchen thing",
    "scooter": "vehicle", "scarf": "garment", "backpack": "bag", "table": "piece of furniture", "trumpet": "instrument",
    "saw": "tool", "teapot": "kitchen thing", "wheelbarrow": "vehicle", "glove": "garment", "basket": "bag",
    "stool": "piece of furniture", "drum": "instrument", "ladder": "tool", "jug": "kitchen thing", "sledge": "vehicle",
    "hat": "garment", "purse": "bag", "bench": "piece of furniture",
}  # fmt: skip
PLACES = ("the gate", "the fence", "the garage", "the fountain", "the stairs", "the tree")
CALM = (
    "the yard was empty and quiet",
    "rain fell on the roof",
    "a bird sat on the wall for a while",
    "the wind moved the leaves",
    "the lamp over the door flickered once",
    "clouds covered the sun",
    "a dog barked somewhere down the road",
    "{person} walked past without stopping",
    "{person} swept the path",
    "{person} looked out of the window",
    "a delivery van drove by",
    "snow slid off the roof near {place}",
    "a cat slept near {place}",
    "a pigeon was looking for crumbs near {place}",
    "the grass near {place} was cut",
)


class Fact(NamedTuple):
    """A question about a thing that one line of a log answers."""

    kind: str
    question: str
    answer: str
    line: int
    thing: str


class Event(NamedTuple):
    """Somebody leaves or takes a thing."""

    line: int
    verb: str
    person: str
    colour: str
    thing: str
    place: str

    @property
    def sentence(self) -> str:
        """Its line in the log."""
        if self.verb == "leave":
            return f"{self.person} left {_with_article(self.colour)} {self.thing} near {self.place}."
        return f"{self.person} took the {self.colour} {self.thing} away from {self.place}."


class _Kind(NamedTuple):
    verb: str
    ask: Callable[[Event], str]
    answer: Callable[[Event], str]


KINDS = {
    "who": _Kind("leave", lambda e: f"Who left the {e.colour} {e.thing}?", lambda e: e.person),
    "colour": _Kind("leave", lambda e: f"What colour was the {e.thing} that {e.person} left?", lambda e: e.colour),
    "class": _Kind("leave", lambda e: f"Which {THINGS[e.thing]} did {e.person} leave?", lambda e: e.thing),
    "taken": _Kind("take", lambda e: f"Who took away the {e.colour} {e.thing}?", lambda e: e.person),
    "where": _Kind("leave", lambda e: f"Where was the {e.colour} {e.thing} left?", lambda e: e.place),
    "did": _Kind("leave", lambda e: f"Did {e.person} leave {_with_article(e.colour)} {e.thing}?", lambda e: "yes"),
    "whence": _Kind("take", lambda e: f"From where did {e.person} take the {e.thing}?", lambda e: e.place),
    "fetched": _Kind("take", lambda e: f"Who fetched the {e.colour} {THINGS[e.thing]}?", lambda e: e.person),
}


def write_log(
    lines: int, rng: np.random.Generator, things: Sequence[str] = tuple(THINGS), kinds: Sequence[str] = tuple(KINDS)
) -> tuple[list[str], list[Fact]]:
    """The lines of a log, and for each event a question of every fitting kind that no other line could answer."""
    events = _draw_events(lines, rng, things)
    written = [
        f"{str(rng.choice(CALM)).format(person=rng.choice(PEOPLE), place=rng.choice(PLACES))}." for _ in range(lines)
    ]
    facts = []
    for event in events:
        written[event.line] = event.sentence
        fitting = [(kind, KINDS[kind]) for kind in kinds if KINDS[kind].verb == event.verb]
        facts += [Fact(kind, of.ask(event), of.answer(event), event.line, event.thing) for kind, of in fitting]
    times = Counter(fact.question for fact in facts)
    return written, [fact for fact in facts if times[fact.question] == 1]


def _draw_events(lines: int, rng: np.random.Generator, things: Sequence[str]) -> list[Event]:
    """Events in no order. A thing is taken after it was left."""
    free = rng.permutation(lines).tolist()
    events = []
    for thing in things:
        people, colours, places = (rng.permutation(words).tolist() for words in (PEOPLE, COLOURS, PLACES))
        for _ in range(int(rng.integers(2, 4))):
            left, taken = sorted((free.pop(), free.pop()))
            what = (colours.pop(), thing, places.pop())
            events.append(Event(left, "leave", people.pop(), *what))
            if rng.random() < 0.5:
                events.append(Event(taken, "take", people.pop(), *what))
    return events


def _with_article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
