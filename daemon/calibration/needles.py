"""`Needle`: a question whose answer lies in known blocks of a haystack. It shows which heads find things.

    text     a log in words (see `written_log`), for every model that can read it
    scenes   rendered hours of the yard (see `yard/`), for a model that knows nothing else, or to test the vision tower

Heads are chosen on some kinds of needle and checked on others: other forms of question, other things or other hours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

from ...yard.asker import Asker
from ...yard.kinds import QUESTION_KINDS
from ...yard.moment import Moment, gated_moments
from ...yard.paint import paint
from ...yard.question import Question
from ...yard.scene import Scene
from ...yard.state import SECOND_NS
from ..model.video_lm import VideoLM
from .written_log import CALM, KINDS, THINGS, write_log

LINE_NS = 20 * SECOND_NS


class Needle(NamedTuple):
    """A question about a haystack.

    Attributes:
        things: for each thing that must be found, the numbers (from 0 on) of the blocks that show it.
    """

    kind: str
    question: str
    things: tuple[tuple[int, ...], ...]


class Haystack(NamedTuple):
    """What a model is shown, and the questions about it.

    Attributes:
        inputs: of all blocks in order, `[n, T, hidden]` at a time, made as they are taken.
    """

    blocks: int
    inputs: Iterator[Tensor]
    needles: list[Needle]


class Needles(Protocol):
    """Where needles come from."""

    name: str

    def haystacks(self, model: VideoLM, *, seen: bool) -> Iterator[Haystack]:
        """Haystacks with needles of the kinds that heads are chosen on (`seen`), or of the other kinds."""


@dataclass(frozen=True)
class TextNeedles:
    """One written log to choose heads on, and another, about other things, to check them on.

    Attributes:
        lines: of each log.
        each: most needles of a kind.
    """

    lines: int = 320
    each: int = 12
    seed: int = 1
    name = "text"

    def haystacks(self, model: VideoLM, *, seen: bool) -> Iterator[Haystack]:
        """See `Needles.haystacks`."""
        rng = np.random.default_rng([self.seed, seen])
        things, kinds = tuple(THINGS), tuple(KINDS)
        lines, facts = write_log(self.lines, rng, things[seen::2], kinds[:4] if seen else kinds[4:])
        needles = [Needle(fact.kind, fact.question, ((fact.line,),)) for fact in facts]
        yield Haystack(len(lines), embed_lines(model, lines), _pick_some_of_each(needles, self.each, rng))


@dataclass(frozen=True)
class SceneNeedles:
    """Rendered yards after the gate, by turns to choose heads on and to check them on.

    Attributes:
        streams: how many yards.
        blocks: most blocks of a yard, which is watched for `seconds`.
        each: most needles of a kind in a yard.
    """

    streams: int = 6
    blocks: int = 500
    seconds: int = 7200
    each: int = 6
    seed: int = 50_000
    name = "scenes"

    def haystacks(self, model: VideoLM, *, seen: bool) -> Iterator[Haystack]:
        """See `Needles.haystacks`."""
        kinds = ("appear", "colour", "when", "order") if seen else ("last", "side", "extra", "left")
        for seed in range(self.seed + (not seen), self.seed + self.streams, 2):
            yield self._haystack(model, seed, kinds)

    def _haystack(self, model: VideoLM, seed: int, kinds: Sequence[str]) -> Haystack:
        moments = gated_moments(Scene(seed=seed, busy=0.2), self.seconds)[: self.blocks]
        rng, noise = np.random.default_rng([seed, 9]), np.random.default_rng([seed, 10])
        asker = Asker(moments, rng)
        asked = [QUESTION_KINDS[kind].draw(asker) for kind in kinds for _ in range(self.each)]
        needles = [Needle(q.kind, q.text, list_sought(q)) for q in asked if q is not None and q.proof]
        return Haystack(len(moments), embed_moments(model, moments, seed, noise), needles)


def embed_lines(model: VideoLM, lines: Sequence[str], first_ns: int = 0) -> Iterator[Tensor]:
    """One block for each line, behind its clock, twenty seconds apart."""
    prompt = model.prompt
    return (
        model.embed_text(prompt.clock_ids(first_ns + i * LINE_NS) + prompt.encode(f" {line}\n"))
        for i, line in enumerate(lines)
    )


def embed_moments(model: VideoLM, moments: Sequence[Moment], seed: int, noise: np.random.Generator) -> Iterator[Tensor]:
    """Rendered frames of a yard, as many at a time as may be prefilled at once."""
    chunk = model.config.chunk_frames
    for some in (moments[i : i + chunk] for i in range(0, len(moments), chunk)):
        yield model.embed_frames([paint(m.state, seed, noise) for m in some], [m.time_ns for m in some])


def list_sought(question: Question) -> tuple[tuple[int, ...], ...]:
    """The moments that show what a question looks for, thing after thing.

    A moment that proves the answer by what it does not show counts as a thing of its own.
    """
    shown = (tuple(sorted({place.moment for place in places})) for places in question.things)
    return (*shown, *((moment,) for moment in question.unseen))


def choose_needles(model: VideoLM) -> Needles:
    """A written log for a model that knows its words, scenes for any other."""
    return TextNeedles() if model.prompt.can_read(CALM[0]) else SceneNeedles()


def _pick_some_of_each(needles: Sequence[Needle], each: int, rng: np.random.Generator) -> list[Needle]:
    chosen: list[Needle] = []
    for kind in dict.fromkeys(needle.kind for needle in needles):
        alike = [needle for needle in needles if needle.kind == kind]
        chosen += [alike[i] for i in rng.permutation(len(alike))[:each]]
    return chosen
