"""How each kind of question is put: phrasings that the embedded model is trained on, and others that only test it."""

from __future__ import annotations

from typing import NamedTuple


class Phrases(NamedTuple):
    """Templates of one kind; `{t}` is a clock, `{thing}` a "red car", `{name}` a "car", `{state}` "open" or "off"."""

    seen: tuple[str, ...]
    held_out: tuple[str, ...]


def _device(name: str) -> tuple[Phrases, Phrases]:
    """Now and at a time, for something that is in one of two states."""
    now = Phrases(
        (
            f"is the {name} {{state}}",
            f"is the {name} {{state}} now",
            f"is the {name} currently {{state}}",
            f"is the {name} {{state}} at present",
            f"at the moment is the {name} {{state}}",
            f"right now the {name} is {{state}} isn't it",
        ),
        (f"is the {name} {{state}} right now", f"right now is the {name} {{state}}"),
    )
    then = Phrases(
        (
            f"was the {name} {{state}} at {{t}}",
            f"at {{t}} was the {name} {{state}}",
            f"was the {name} {{state}} then at {{t}}",
            f"the {name} was {{state}} at {{t}} wasn't it",
            f"at the time {{t}} the {name} was {{state}} right",
        ),
        (f"at {{t}} was the {name} then {{state}}", f"at the time {{t}} was the {name} {{state}}"),
    )
    return now, then


_DOOR, _LAMP, _GATE = (_device(name) for name in ("door", "lamp", "gate"))
PHRASES: dict[str, Phrases] = {
    "door now": _DOOR[0],
    "lamp now": _LAMP[0],
    "gate now": _GATE[0],
    "sign now": Phrases(
        (
            "what number is on the sign",
            "what digit is on the sign now",
            "what does the sign show",
            "which number is on the sign right now",
            "which number does the sign show",
            "what is the digit on the sign now",
        ),
        ("what number does the sign show now", "which digit is on the sign"),
    ),
    "there now": Phrases(
        (
            "what is there now",
            "what do you see now",
            "what is in the yard",
            "what is in the yard right now",
            "what's there",
            "which things are there right now",
            "what can you see in the yard now",
            "what is in the picture right now",
        ),
        ("what do you see in the yard right now", "what is there in the yard now"),
    ),
    "count now": Phrases(
        (
            "how many things are there now",
            "how many things do you see",
            "how many things are in the yard right now",
            "what is the number of things there now",
            "how many things can you see right now",
            "count the things in the yard now",
        ),
        ("how many things do you see in the yard now", "how many things are there in the yard right now"),
    ),
    "door then": _DOOR[1],
    "lamp then": _LAMP[1],
    "gate then": _GATE[1],
    "sign then": Phrases(
        (
            "what digit was on the sign at {t}",
            "what number did the sign show at {t}",
            "at {t} what number was on the sign",
            "which number was on the sign at {t}",
            "what was the digit on the sign at {t}",
            "at {t} which number did the sign show",
        ),
        ("at {t} what digit did the sign show", "which digit did the sign show at {t}"),
    ),
    "there then": Phrases(
        (
            "what was there at {t}",
            "what was in the yard at {t}",
            "what did you see at {t}",
            "at {t} what was there",
            "which things were there at {t}",
            "at {t} which things did you see",
            "what was in the picture at {t}",
            "at {t} what was in the yard",
        ),
        ("at {t} what did you see", "what did you see in the yard at {t}"),
    ),
    "appear": Phrases(
        (
            "did {a_thing} appear",
            "was there {a_thing}",
            "did you see {a_thing}",
            "did {a_thing} come",
            "have you seen {a_thing}",
            "has there been {a_thing}",
            "did {a_thing} ever come",
            "has {a_thing} appeared",
        ),
        ("has {a_thing} come", "did you ever see {a_thing}"),
    ),
    "colour": Phrases(
        (
            "what colour was the {name}",
            "what color was the {name}",
            "which colour was the {name}",
            "which color did the {name} have",
            "what was the colour of the {name}",
            "what color did the {name} have",
            "of what colour was the {name}",
        ),
        ("which color was the {name}", "what was the color of the {name}", "what colour did the {name} have"),
    ),
    "kind": Phrases(
        (
            "what was {colour}",
            "what kind of thing was {colour}",
            "which thing was {colour}",
            "what {colour} thing was there",
            "what type of thing was {colour}",
            "which of the things was {colour}",
            "what was the {colour} thing",
        ),
        ("what sort of thing was {colour}", "which {colour} thing was there"),
    ),
    "side": Phrases(
        (
            "on which side was the {thing}",
            "which side was the {thing} on",
            "was the {thing} on the left or the right",
            "on what side did you see the {thing}",
            "was the {thing} left or right",
            "on which half was the {thing}",
            "which side did you see the {thing} on",
        ),
        ("on what side was the {thing}", "on which side did you see the {thing}"),
    ),
    "extra": Phrases(
        (
            "what did the {thing} have",
            "what did the {thing} have with them",
            "what did the {thing} wear or hold",
            "what was the {thing} wearing or holding",
            "what did the {thing} carry",
            "what did the {thing} bring with them",
            "what was there with the {thing}",
        ),
        ("what did the {thing} wear or carry", "what was with the {thing}"),
    ),
    "when": Phrases(
        (
            "when did the {thing} appear",
            "at what time did the {thing} appear",
            "when did the {thing} come",
            "when did you first see the {thing}",
            "when was the {thing} first seen",
            "at which time did the {thing} appear",
            "at what time did the {thing} come",
        ),
        ("at what time did you first see the {thing}", "at which time did the {thing} come"),
    ),
    "last": Phrases(
        (
            "when did you last see the {thing}",
            "when was the {thing} last seen",
            "when was the {thing} last there",
            "at what time was the {thing} last seen",
            "at which time did you last see the {thing}",
            "when did you see the {thing} the last time",
        ),
        ("at what time did you last see the {thing}", "when did you see the {thing} last"),
    ),
    "order": Phrases(
        (
            "which came {end}, the {one} or the {other}",
            "which was {end}, the {one} or the {other}",
            "what came {end}, the {one} or the {other}",
            "what appeared {end}, the {one} or the {other}",
            "which did you see {end}, the {one} or the {other}",
            "which of them was {end}, the {one} or the {other}",
        ),
        ("which appeared {end}, the {one} or the {other}", "which one came {end}, the {one} or the {other}"),
    ),
    "left": Phrases(
        (
            "who {verb} the {thing}",
            "which person {verb} the {thing}",
            "who was it who {verb} the {thing}",
            "what was the person who {verb} the {thing}",
            "did you see who {verb} that {thing}",
        ),
        ("who {verb} this {thing}", "what person {verb} the {thing}"),
    ),
    "came": Phrases(
        (
            "how many {kinds} did you see between {since} and {until}",
            "how many {kinds} came between {since} and {until}",
            "between {since} and {until} how many {kinds} were there",
            "between {since} and {until} how many {kinds} came",
            "what number of {kinds} came between {since} and {until}",
        ),
        (
            "how many {kinds} were there between {since} and {until}",
            "between {since} and {until} how many {kinds} did you see",
        ),
    ),
    "happened": Phrases(
        (
            "what came between {since} and {until}",
            "what did you see between {since} and {until}",
            "between {since} and {until} what was there",
            "what happened between {since} and {until}",
            "between {since} and {until} what did you see",
            "which things came between {since} and {until}",
        ),
        ("what was there between {since} and {until}", "between {since} and {until} what happened"),
    ),
    "unknown": Phrases(
        (
            "what is the {word}",
            "what is your {word}",
            "is the {word} {word2}",
            "is it {word}",
            "how many {word} are there",
            "did a {word} come",
            "did a {colour} {word} appear",
            "what colour was the {word}",
            "when did the {word} appear",
            "who is the {word} of {word2}",
            "how {word} is the {name}",
            "was the {word} {word2} at {t}",
            "why did the {name} {word}",
            "can you {word} the {word2}",
            "did the {name} have a {word}",
            "is the {name} {word}",
            "{word} {word2}",
            "where is the {word}",
            "what colour was the {device}",
            "when did the {device} appear",
            "who left the {device}",
            "what was the {word} of the {thing}",
            "tell me the {word}",
            "what does the {word} {word2} like",
            "have you {word} this {word2}",
            "which of the {word} was {word2}",
            "how is the {word} today",
            "what did the {word} do",
            "on what side was the {word}",
        ),
        (
            "what's the {word} like today",
            "tell me about the {word}",
            "do you think it was {word}",
            "which {word} is {word2}",
            "should i {word} a {word2}",
            "what did the {name} {word}",
            "how many {word} did you see",
            "on which side was the {device}",
        ),
    ),
}
SEEN_WORDS = (
    "weather windy sunny warm cold snow rain temperature name president capital country plate licence phone "
    "address old tall big fast speed heavy happy sad smiling man woman child boy girl family friend owner driver "
    "police tree flower sky cloud sun moon star bird horse cow fish truck bus train plane boat bike wheel window "
    "roof wall garden pool street road city river music song film book story joke weekday monday week month "
    "birthday price money dollars buy food coffee water call email internet computer password code language "
    "english mean meaning life love favourite best math plus times equals write make play game football team "
    "shirt shoes face hair hand dressed talking saying running"
)
HELD_OUT_WORDS = (
    "helicopter elephants tractor giraffe pizza guitar angry laughing baby thief trees birds ship motorcycle tyre "
    "town mountain movie poem sunday year euros sell eat drink worst square won trousers eyes sleeping jumping "
    "dentist stock insurance recipe bitcoin thunder scooter skateboard balloon passport salary religion zebra "
    "ladder lawnmower"
)
