"""`Anchor`: an event by which a question names its time, "before the van came"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

Relation = Literal["before", "after", "during"]
_WORDS: dict[str, Relation] = {
    "before": "before",
    "until": "before",
    "till": "before",
    "by the time": "before",
    "after": "after",
    "since": "after",
    "as soon as": "after",
    "while": "during",
    "whilst": "during",
    "during": "during",
    "as long as": "during",
    "when": "during",
    "at the time when": "during",
    "at the time": "during",
    "at the moment when": "during",
    "at the moment": "during",
    "the moment": "during",
}
_LONGEST_FIRST = "|".join(sorted(_WORDS, key=len, reverse=True))
_SOMEONE = (
    r"(?:the|an?|this|his|her|their|its|my|our|your|he|she|it|they|we|you|i|people|(?:some|any|every)(?:one|body|thing)"
    r"|nobody)\b"
)
_CLAUSE = re.compile(rf"\b(?P<word>{_LONGEST_FIRST}) (?P<event>{_SOMEONE} [^?!.,;]*)", re.IGNORECASE)
# After a clause that opens the sentence, the question itself begins: "before the van came | who was there".
_QUESTION = re.compile(
    r"[,;] | (?=(?:who|what|which|where|how|any)\b"
    rf"|(?:was|were|is|are|did|does|do|has|have|had|can|could) (?:there\b|{_SOMEONE}))",
    re.IGNORECASE,
)
_OPENING = re.compile(r"(?:and |so |just |right |shortly |even )*", re.IGNORECASE)
# "Tell me when the van came" asks for the time, and "who looks after the dog" names none.
_ASKED = re.compile(r"\b(?:me|us|know|say|tell|remember|sure|ask|exactly|and|or|out|notice|since|until|till)$", re.I)
_SEEN = re.compile(r"^(?!what|who|which|where|how).*\bsee$", re.IGNORECASE)
_PARTICLE = re.compile(r"\b(?:look|run|go|chase|ask|clean|name)(?:s|ed|d|ning|ing|es)?$|\b(?:ran|went|or)$", re.I)
_NO_EVENT = re.compile(
    r"(?:the|an?|this|his|her|their|its|my|our|your) (?:\w+ )?"
    r"(?:door|gate|house|garage|wall|fence|window|camera|building|sign|lamp|tree|yard|day|time|while|moment|bit|second"
    r"|minute|hour|week|month|year)\W*",
    re.IGNORECASE,
)
_NOW = re.compile(
    r"(?<!until )(?<!till )(?<!by )(?<!to )(?<!from )(?<!just )(?<!before )(?<!since )(?<!even )\bnow\b(?! and then)"
    r"|\b(?:currently|presently|at present|(?:at )?this (?:very )?(?:moment|instant)"
    r"|at the (?:current|present) (?:moment|time))\b",
    re.IGNORECASE,
)
_AT_THE_MOMENT = re.compile(r"\bat the moment\b(?! (?:when|that)\b)", re.IGNORECASE)


class Anchor(NamedTuple):
    """The question is about the time before, after or during an event, which the memory must be asked for."""

    relation: Relation
    event: str


class Clause(NamedTuple):
    """An anchor and its place in the sentence: from `start` to before `end`."""

    anchor: Anchor
    start: int
    end: int


def find_clause(sentence: str, taken: Sequence[tuple[int, int]]) -> Clause | None:
    """The first subordinate clause, or noun phrase, that names a time by an event; None where there is none.

    Args:
        taken: the places of other times. They are left out of the event.
    """
    for found in _CLAUSE.finditer(sentence):
        start, end = found.start(), found.end()
        if any(first <= start < last for first, last in taken):
            continue
        before = sentence[:start].rstrip(" ,")
        if not _OPENING.fullmatch(sentence[:start]):
            ok = _says_when(found["word"].lower(), before)
        elif behind := _QUESTION.search(sentence, found.start("event") + 1):
            ok, end = True, behind.start()
        else:
            ok = False  # "when the van came?" is a question of its own
        event = _cut_out(sentence, found.start("event"), end, taken)
        if ok and not _NO_EVENT.fullmatch(event) and not _is_now(found["word"].lower(), event):
            return Clause(Anchor(_WORDS[found["word"].lower()], event), start, end)
    return None


def says_now(sentence: str) -> bool:
    """Whether words say that the question is about the present."""
    if _NOW.search(sentence):
        return True
    found = _AT_THE_MOMENT.search(sentence)
    return found is not None and (
        not re.match(rf" {_SOMEONE}", sentence[found.end() :], re.I)
        or _is_now("at the moment", sentence[found.end() :])
    )


def _says_when(word: str, before: str) -> bool:
    """Whether the word names a time. After some words it asks for one ("tell me when"), or goes with a verb."""
    if word == "when":
        return not _ASKED.search(before) and not _SEEN.search(before)
    return word not in ("before", "after") or not _PARTICLE.search(before)


def _is_now(word: str, event: str) -> bool:
    """ "At the moment the door is open" is about now."""
    return "the moment" in word and re.search(r"\b(?:is|are)\b", event) is not None


def _cut_out(sentence: str, start: int, end: int, taken: Sequence[tuple[int, int]]) -> str:
    """A piece of a sentence without what is taken."""
    kept = sentence[start:end]
    for first, last in sorted(taken, reverse=True):
        if start <= first and last <= end:
            kept = kept[: first - start] + kept[last - start :]
    return " ".join(kept.split())
