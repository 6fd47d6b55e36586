"""The contexts that the language stage reads: past and recent frames, and many questions about them.

A context is laid out as the daemon lays one out: `sink | recalled frames | recent frames | question`. The recalled
frames are long or short pieces of a stream, and a frame has seen only the frames of its own piece. The questions stand
in rows behind the frames and do not see each other.

Some frames may be hidden. No question sees them and they take no place, but the frame behind them has seen them, as
with a single block that is recalled. Of the other frames a question sees

    all; or a random few; or the proof and the recent ones; or those of the time that it is about; or the recent ones

A question that does not see its proof is not taught its answer, only where to look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from longwatch.retrieval.time.reference import understand
from longwatch.yard.asker import Asker
from longwatch.yard.kinds import QUESTION_KINDS
from longwatch.yard.moment import Moment, clock
from longwatch.yard.paint import paint
from longwatch.yard.phrases import SEEN_WORDS
from longwatch.yard.question import Place, Question
from longwatch.yard.state import SECOND_NS

from .packed import Packed
from .speech import loosen
from .tokenizer import SLOTS
from .vision import compress, shrink

SINK = "<s>you watch a camera"
CLOCK_TOKENS, VISUAL_TOKENS = 8, 16
FRAME_TOKENS = CLOCK_TOKENS + VISUAL_TOKENS
ROW_TOKENS = 48
IGNORED = -100
MOST_COUNTED = 4
UNTAUGHT_SHARE = 0.4  # of the questions about what the yard does not have: their words are replaced by unknown ones
ALL_SEEN, IN_SPAN_SEEN, PROOF_SEEN = 0.75, 0.82, 0.92  # a draw below this: it sees so much; else only recent frames
FEW_SHARE, FEW_VIEWS = 0.35, 3  # of the questions that are about a random few of the frames
PIECES = (1, 2, 4, 4)  # how many frames in a row
HALF_DAY_SECONDS = 43_200
SCATTERED = 4  # so many recalled frames, or more, may come from anywhere


class Stream(NamedTuple):
    """A rendered stream after the gate: moments, their visual tokens `[M, 16, 256]` bf16, and which tell a story."""

    moments: list[Moment]
    visual: torch.Tensor
    telling: list[int]


class ContextFrames(NamedTuple):
    """A context's frames in time order."""

    moments: list[Moment]
    visual: torch.Tensor  # [F, 16, 256]
    follows: list[bool]  # whether a frame comes right behind the one before it
    places: list[int]  # each frame's place in the laid-out context
    kept: list[int]  # the frames that are not hidden


def paint_frames(moments: list[Moment], variant: int, rng: np.random.Generator) -> torch.Tensor:
    """`[M, 3, 96, 96]` uint8, a third of them after a lossy codec."""
    images = []
    for moment in moments:
        image = paint(moment.state, variant, rng)
        images.append(shrink(compress(image, rng) if rng.random() < 0.33 else image))
    return torch.stack(images)


def find_stories(moments: list[Moment]) -> list[int]:
    """The moments in which a person stands beside a thing that was brought."""
    found = []
    for i, moment in enumerate(moments):
        lanes = {t.lane for t in moment.state.things if t.kind == "person" and not t.half_seen}
        if any(t.left_by and t.lane in lanes for t in moment.state.things):
            found.append(i)
    return found


@dataclass
class Batch:
    """Contexts of equally many frames. Shapes as in `Packed`; `P` parts of answers, `S` things sought."""

    packed: Packed
    clock_ids: torch.Tensor  # [B, F, 8]
    visual: torch.Tensor  # [B, F, 16, 256]
    digits: torch.Tensor  # [B, F, 6] the clock of each frame
    spoken: torch.Tensor  # [B, R, W, 6] the clock that ends at a question's token, or -1
    ids: torch.Tensor  # [B, R, W]
    labels: torch.Tensor  # [B, R, W], the token that must follow, or IGNORED
    answering: torch.Tensor  # [B, R, W] bool: from these tokens the answer's come
    asking: torch.Tensor  # [B, R, W] bool: a question's own tokens
    shown: torch.Tensor  # [B, P, F, 16] bool: the visual tokens that show a part of an answer, part after part
    part: torch.Tensor  # [B, R, W]: which part the token after this one belongs to, or -1
    sought: torch.Tensor  # [B, S, F, 16] bool: the visual tokens that a question looks for, thing after thing
    seeker: torch.Tensor  # [B, S]: the question that looks for them, or -1
    ordinals: torch.Tensor  # [B, F, 16]: 1 for the first thing of a frame, and so on; 0 elsewhere
    kept: torch.Tensor  # [B, F] bool: the frames that are not hidden
    kinds: list[list[str]]


class ContextMaker:
    """Draws contexts and questions from streams, with random numbers of its own."""

    def __init__(self, streams: list[Stream], tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
        self.streams = streams
        self.rng = np.random.default_rng([seed, 3])
        self.tokenizer = tokenizer
        self.sink_ids = tokenizer(SINK).input_ids
        self.eos = tokenizer.eos_token_id
        self._unknown = tokenizer.unk_token_id
        self._foreign = frozenset(tokenizer(SEEN_WORDS).input_ids)
        self._ids: dict[str, list[int]] = {}
        self._and, self._colon = tokenizer("and: 2").input_ids[:2]
        self._digit_ids = [[tokenizer.convert_tokens_to_ids(f"{slot}{d}") for d in range(10)] for slot in SLOTS]
        self._digits = {token: d for of_slot in self._digit_ids for d, token in enumerate(of_slot)}
        self._last_digits = frozenset(self._digit_ids[-1])
        self._brackets = (tokenizer("[14:00:00]").input_ids[0], tokenizer("[14:00:00]").input_ids[-1])

    def batch(
        self,
        contexts: int,
        past: int,
        recent: int,
        rows: int,
        hidden: int,
        weights: dict[str, float],
        *,
        full: bool = False,
    ) -> Batch:
        """A batch of contexts with so many recalled and recent frames. With `full` every question sees every frame.

        Args:
            rows: rows of 48 tokens, filled with questions.
            hidden: how many frames before each recalled one only that one has seen.
            weights: how often each kind is asked.
        """
        drawn = [self._context(past, recent, hidden) for _ in range(contexts)]
        frames, recalled = len(drawn[0].moments), len(drawn[0].moments) - recent
        asked = [self._questions(d.moments, d.kept, recalled, rows, weights, full) for d in drawn]
        things = max(sum(len(placed.sought) for placed in questions) for questions in asked)
        parts = max(sum(len(placed.question.shown) for placed in questions) for questions in asked)
        shape = (contexts, rows, ROW_TOKENS)
        packed = Packed(
            sink=len(self.sink_ids),
            frames=frames,
            frame_tokens=FRAME_TOKENS,
            rows=rows,
            row_tokens=ROW_TOKENS,
            question_positions=torch.zeros(shape, dtype=torch.long),
            question=torch.full(shape, -1),
            seen=torch.zeros(*shape, frames, dtype=torch.bool),
            places=torch.tensor([d.places for d in drawn]),
            follows=torch.tensor([d.follows for d in drawn]),
        )
        clocks = [[self._clock_ids(moment) for moment in d.moments] for d in drawn]
        b = Batch(
            packed=packed,
            clock_ids=torch.tensor([[ids for ids, _ in row] for row in clocks]),
            visual=torch.stack([d.visual for d in drawn]),
            digits=torch.tensor([[digits for _, digits in row] for row in clocks]),
            spoken=torch.full((*shape, 6), -1),
            ids=torch.zeros(shape, dtype=torch.long),
            labels=torch.full(shape, IGNORED),
            answering=torch.zeros(shape, dtype=torch.bool),
            asking=torch.zeros(shape, dtype=torch.bool),
            shown=torch.zeros(contexts, parts, frames, VISUAL_TOKENS, dtype=torch.bool),
            part=torch.full(shape, -1),
            sought=torch.zeros(contexts, things, frames, VISUAL_TOKENS, dtype=torch.bool),
            seeker=torch.full((contexts, things), -1),
            ordinals=torch.stack([_ordinals(d.moments) for d in drawn]),
            kept=torch.stack([_mask(d.kept, frames) for d in drawn]),
            kinds=[[placed.question.kind for placed in questions] for questions in asked],
        )
        for i, questions in enumerate(asked):
            part = thing = 0
            for q, placed in enumerate(questions):
                self._place(b, i, q, part, thing, placed)
                part += len(placed.question.shown)
                thing += len(placed.sought)
        return b

    def _place(self, b: Batch, i: int, q: int, part: int, thing: int, placed: _PlacedQuestion) -> None:
        row, at = placed.row, placed.at
        asked, end = at + len(placed.ids), at + len(placed.ids) + len(placed.answer)
        b.ids[i, row, at:end] = torch.tensor(placed.ids + placed.answer)
        b.packed.question_positions[i, row, at:end] = torch.arange(end - at)
        b.packed.question[i, row, at:end] = q
        b.packed.seen[i, row, at:end] = placed.visible
        b.asking[i, row, at:asked] = True
        for n, token in enumerate(placed.ids):
            if token in self._last_digits:
                digits = [self._digits[t] for t in placed.ids[n - 5 : n + 1]]
                b.spoken[i, row, at + n] = torch.tensor(digits)
        for n, places in enumerate(placed.question.shown, part):
            for moment, cell in places:
                b.shown[i, n, moment, cell] = True
        for n, places in enumerate(placed.sought, thing):
            b.seeker[i, n] = q
            for moment, cell in places:
                b.sought[i, n, moment, cell] = True
        proof, shown = list(placed.question.proof), placed.question.shown
        if placed.visible[proof].all():  # without it, the question only learns where to look
            b.labels[i, row, asked - 1 : end - 1] = torch.tensor(placed.answer)
            b.answering[i, row, asked - 1 : end - 1] = True
            owners = self._owners(placed.answer, len(shown))
            b.part[i, row, asked - 1 : end - 1] = torch.tensor([-1 if n < 0 else part + n for n in owners])

    def _owners(self, answer: list[int], parts: int) -> list[int]:
        """For each token of an answer, the part it belongs to; -1 behind the last part (the end, and a count)."""
        owners, part = [], 0
        for token in answer:
            part = parts if token in (self.eos, self._colon) else part + (token == self._and)
            owners.append(part if part < parts else -1)
        return owners

    def _clock_ids(self, moment: Moment) -> tuple[list[int], list[int]]:
        digits = [int(c) for c in clock(moment.time_ns) if c != ":"]
        ids = [of_slot[digit] for of_slot, digit in zip(self._digit_ids, digits, strict=True)]
        return [self._brackets[0], *ids, self._brackets[1]], digits

    def _context(self, past: int, recent: int, hidden: int) -> ContextFrames:
        """Frames: the last `recent` are contiguous, the recalled ones are one run or pieces from anywhere."""
        rng, length = self.rng, hidden + 1
        stream = self.streams[int(rng.integers(len(self.streams)))]
        now = int(rng.integers(past * length + recent + 8, len(stream.moments)))
        old = now - recent + 1
        scattered = hidden > 0 or (past >= SCATTERED and rng.random() < 0.7)
        if scattered:
            recalled = self._pieces(past * length, old, stream.telling, length if hidden else None)
        else:
            begin = int(rng.integers(0, old - past + 1))
            recalled = list(range(begin, begin + past))
        chosen = [*recalled, *range(old, now + 1)]
        follows = [False, *(after == before + 1 for before, after in pairwise(chosen))]
        places, kept = list(range(len(chosen))), list(range(len(chosen)))
        if hidden:
            follows[: len(recalled)] = [i % length > 0 for i in range(len(recalled))]
            follows[len(recalled)] = False
            places = [i // length + i % length for i in range(len(recalled))]
            places += range(past + hidden, past + hidden + recent)
            kept = [*range(hidden, len(recalled), length), *range(len(recalled), len(chosen))]
        moments = [stream.moments[i] for i in chosen]
        if scattered and rng.random() < 0.7:
            count = len(recalled)
            moments[:count] = self._hours_apart(moments[:count], follows[:count], moments[count].time_ns)
        shift = int(rng.integers(86_400)) * SECOND_NS
        moments = [Moment(m.time_ns + shift, m.until_ns + shift, m.state) for m in moments]
        return ContextFrames(moments, stream.visual[chosen], follows, places, kept)

    def _pieces(self, count: int, old: int, telling: list[int], length: int | None) -> list[int]:
        """So many indices below `old`, a few in a row, sometimes with a story among them."""
        length = length or PIECES[int(self.rng.integers(len(PIECES)))]
        length = length if count % length == 0 else 1
        offset = int(self.rng.integers(old % length + 1))
        begins = self.rng.choice(old // length, count // length, replace=False)
        told = [i for i in telling if offset <= i < offset + old // length * length]
        if told and self.rng.random() < 0.4:
            story = (told[int(self.rng.integers(len(told)))] - offset) // length
            if story not in begins:
                begins[0] = story
        return [offset + int(begin) * length + i for begin in sorted(begins) for i in range(length)]

    def _hours_apart(self, recalled: list[Moment], follows: list[bool], now_ns: int) -> list[Moment]:
        """The same pieces at random times of the last half day, so that no digit of their clocks can be guessed."""
        firsts = [i for i, follow in enumerate(follows) if not follow]
        pieces = [recalled[i:j] for i, j in pairwise([*firsts, len(recalled)])]
        lasting = [(piece[-1].until_ns - piece[0].time_ns) // SECOND_NS + 1 for piece in pieces]
        free = HALF_DAY_SECONDS - 60 - sum(lasting)
        if free < len(pieces):
            return recalled
        moved, begin = [], now_ns - HALF_DAY_SECONDS * SECOND_NS
        for piece, skipped, before in zip(
            pieces, sorted(self.rng.integers(free, size=len(pieces)).tolist()), np.cumsum([0, *lasting]), strict=False
        ):
            shift = begin + (skipped + int(before)) * SECOND_NS - piece[0].time_ns
            moved += [Moment(m.time_ns + shift, m.until_ns + shift, m.state) for m in piece]
        return moved

    def _questions(
        self, moments: list[Moment], kept: list[int], past: int, rows: int, weights: dict[str, float], full: bool
    ) -> list[_PlacedQuestion]:
        """Questions about the kept frames until the rows are full."""
        rng, drawn = self.rng, []
        kinds, chance = list(weights), np.cumsum(list(weights.values()))
        everything = _View(moments, kept, rng)
        old = _View(moments, [i for i in kept if i < (past or len(moments))], rng)
        few = [] if full or not past else [_View(moments, self._few(kept, past), rng) for _ in range(FEW_VIEWS)]
        row, at = 0, 0
        misses = 0
        while row < rows and misses < 60:
            kind = kinds[int(np.searchsorted(chance, rng.random() * chance[-1]))]
            view = old if kind.endswith("then") and rng.random() < 0.8 else everything
            if few and rng.random() < FEW_SHARE:
                view = few[int(rng.integers(len(few)))]
            question = view.ask(kind)
            if question is None:
                misses += 1
                continue
            ids = self._encode(f"<q>{loosen(question.text, rng)}<a>")
            if question.kind == "unknown" and rng.random() < UNTAUGHT_SHARE:
                ids = [self._unknown if i in self._foreign else i for i in ids]
            answer = [*self._encode(question.answer), self.eos]
            if at + len(ids) + len(answer) > ROW_TOKENS:
                row, at = row + 1, 0
                if row == rows:
                    break
            visible = view.visible if view in few else self._visible(question, moments, everything, past, full)
            drawn.append(_PlacedQuestion(question, ids, answer, row, at, visible, list_sought(question)))
            at += len(ids) + len(answer)
        return drawn

    def _few(self, kept: list[int], past: int) -> list[int]:
        """Some of the recalled frames, and the recent ones."""
        share = 0.1 + 0.5 * self.rng.random()
        return [i for i in kept if i >= past or self.rng.random() < share]

    def _visible(
        self, question: Question, moments: list[Moment], everything: _View, past: int, full: bool
    ) -> torch.Tensor:
        """`[F]` bool: which of the kept frames a question sees."""
        visible = everything.visible.clone()
        draw = 0.0 if full else self.rng.random()
        if draw < ALL_SEEN:
            return visible
        if draw < IN_SPAN_SEEN and (span := understand(question.text, moments[-1].until_ns).span):
            return visible & torch.tensor([span.touches(m.time_ns, m.until_ns) for m in moments])
        recalled = visible[:past].nonzero().flatten().tolist()
        visible[:past] = False
        if draw < PROOF_SEEN:
            some = self.rng.permutation(recalled)[:4].astype(int).tolist()
            visible[list(question.proof) or some] = True
        return visible

    def _encode(self, text: str) -> list[int]:
        if text not in self._ids:
            ids: list[int] = self.tokenizer(text).input_ids
            if any(c.isdigit() for c in text):
                return ids
            self._ids[text] = ids
        return self._ids[text]


class _View:
    """Some of a context's frames, and questions about these alone."""

    def __init__(self, moments: list[Moment], chosen: Sequence[int], rng: np.random.Generator) -> None:
        self._chosen = list(chosen)
        self._asker = Asker([moments[i] for i in self._chosen], rng)
        self.visible = _mask(self._chosen, len(moments))

    def ask(self, kind: str) -> Question | None:
        """A question of the kind, with its places counted in frames of the context."""
        question = QUESTION_KINDS[kind].draw(self._asker)
        if question is None:
            return None
        return question._replace(
            proof=tuple(self._chosen[i] for i in question.proof),
            shown=self._moved(question.shown),
            sought=self._moved(question.sought),
        )

    def _moved(self, parts: tuple[tuple[Place, ...], ...]) -> tuple[tuple[Place, ...], ...]:
        return tuple(tuple(Place(self._chosen[moment], cell) for moment, cell in places) for places in parts)


def _mask(indices: Sequence[int], count: int) -> torch.Tensor:
    """`[count]` bool."""
    chosen = torch.zeros(count, dtype=torch.bool)
    chosen[list(indices)] = True
    return chosen


def _ordinals(moments: list[Moment]) -> torch.Tensor:
    """`[F, 16]`: which thing of its frame stands in a cell, counted from 1, far lane first."""
    found = torch.zeros(len(moments), VISUAL_TOKENS, dtype=torch.long)
    for i, moment in enumerate(moments):
        for n, thing in reversed(list(enumerate(moment.state.things, 1))):
            found[i, thing.cell] = min(n, MOST_COUNTED)
    return found


def list_sought(question: Question) -> list[list[Place]]:
    """What a question looks for, thing after thing; a moment that proves it by what it does not show counts whole."""
    whole = [[Place(moment, cell) for cell in range(VISUAL_TOKENS)] for moment in question.unseen]
    return [*map(list, question.things), *whole]


class _PlacedQuestion(NamedTuple):
    question: Question
    ids: list[int]
    answer: list[int]
    row: int
    at: int
    visible: torch.Tensor
    sought: list[list[Place]]
