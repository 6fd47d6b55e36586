"""What the language stage reads: contexts of past and recent frames, each with many questions under one mask.

A context is laid out as the daemon lays one out (`sink | recalled frames | recent frames | question`). Its questions
stand side by side behind the frames and cannot see each other. Some see every frame, some only a few of the recalled
ones, and some only the recent ones: those learn nothing but where to look (`blind`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from longwatch.daemon.capture import quiz
from longwatch.daemon.capture.quiz import Moment, Question
from longwatch.daemon.capture.scene import Scene, State, paint

from .vision import compress, shrink

SINK = "<s>you watch a camera"
CLOCK_TOKENS, VISUAL_TOKENS = 8, 16
FRAME_TOKENS = CLOCK_TOKENS + VISUAL_TOKENS
IGNORED = -100
SECOND_NS = 1_000_000_000


class Stream(NamedTuple):
    """A rendered stream after the gate: its moments, and their visual tokens `[M, 16, 256]` bf16."""

    moments: list[Moment]
    visual: torch.Tensor


def changed(state: State, kept: State) -> bool:
    """Whether a gate would call the state new."""
    still = len(state.things) == len(kept.things) and all(
        a[:3] == b[:3] and abs(a.x - b.x) < 6 for a, b in zip(state.things, kept.things, strict=True)
    )
    return not still or state[1:4] != kept[1:4]


def gated_moments(scene: Scene, seconds: int, keep_seconds: int = 300) -> list[Moment]:
    """The moments that a gate would keep of a scene watched at one frame a second."""
    moments: list[Moment] = []
    for t in range(seconds):
        state, time_ns = scene.state(t), scene.start_ns + t * 1_000_000_000
        if moments and not changed(state, moments[-1].state) and t * 1e9 < moments[-1].time_ns + keep_seconds * 1e9:
            moments[-1] = moments[-1]._replace(until_ns=time_ns)
        else:
            moments.append(Moment(time_ns, time_ns, state))
    return moments


def pictures(moments: list[Moment], variant: int, rng: np.random.Generator) -> torch.Tensor:
    """`[M, 3, 96, 96]` uint8, a third of them through a lossy codec."""
    images = []
    for moment in moments:
        image = paint(moment.state, variant, rng)
        images.append(shrink(compress(image, rng) if rng.random() < 0.33 else image))
    return torch.stack(images)


@dataclass
class Batch:
    """Contexts of equally many frames, padded to one length.

    Shapes: `B` contexts, `T` tokens, `F` frames, `Q` questions.
    """

    ids: torch.Tensor  # [B, T]; visual tokens are 0 here
    visual: torch.Tensor  # [B, F, 16, 256]
    positions: torch.Tensor  # [B, T]
    mask: torch.Tensor  # [B, 1, T, T] bool
    labels: torch.Tensor  # [B, T], the token that must follow
    question: torch.Tensor  # [B, T], the number of the question that a token belongs to, or -1
    asking: torch.Tensor  # [B, T] bool: a question's own tokens, not its answer's
    proof: torch.Tensor  # [B, Q, F] bool
    digits: torch.Tensor  # [B, F, 6] the clock of each frame
    kinds: list[list[str]]


class ContextMaker:
    """Draws contexts and questions from streams, by its own random numbers."""

    def __init__(self, streams: list[Stream], tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
        self.streams = streams
        self.rng = np.random.default_rng([seed, 3])
        self.tokenizer = tokenizer
        self.sink_ids = tokenizer(SINK).input_ids
        self.first_digit = tokenizer.convert_tokens_to_ids("ᵃ0")
        self.eos = tokenizer.eos_token_id
        self._word_ids: dict[str, list[int]] = {}

    def batch(self, contexts: int, past: int, recent: int, questions: int, *, full: bool = False) -> Batch:
        """Contexts of so many recalled and recent frames; `full` lets every question see every frame.

        Few recalled frames are a run, as a time span would bring them back, and the questions are mostly about
        times; many are scattered, and the questions are mostly about things.
        """
        frames = past + recent
        drawn = [self._context(past, recent) for _ in range(contexts)]
        rows = [self._questions(moments, past, questions, full) for moments, _ in drawn]
        start = len(self.sink_ids) + frames * FRAME_TOKENS
        length = start + max(sum(len(ids) + len(answer) for _, ids, answer, _ in row) for row in rows)
        b = Batch(
            ids=torch.zeros(contexts, length, dtype=torch.long),
            visual=torch.stack([visual for _, visual in drawn]),
            positions=torch.zeros(contexts, length, dtype=torch.long),
            mask=torch.zeros(contexts, 1, length, length, dtype=torch.bool),
            labels=torch.full((contexts, length), IGNORED),
            question=torch.full((contexts, length), -1),
            asking=torch.zeros(contexts, length, dtype=torch.bool),
            proof=torch.zeros(contexts, questions, frames, dtype=torch.bool),
            digits=torch.zeros(contexts, frames, 6, dtype=torch.long),
            kinds=[[question.kind for question, *_ in row] for row in rows],
        )
        frame_of = torch.full((length,), -1)
        frame_of[len(self.sink_ids) : start] = torch.arange(frames).repeat_interleave(FRAME_TOKENS)
        for i, ((moments, _), row) in enumerate(zip(drawn, rows, strict=True)):
            self._lay_frames(b, i, moments)
            seen = torch.zeros(questions, frames, dtype=torch.bool)
            at = start
            for q, (question, ids, answer, visible) in enumerate(row):
                seen[q] = visible
                b.proof[i, q, list(question.proof)] = True
                end = at + len(ids) + len(answer)
                b.ids[i, at:end] = torch.tensor(ids + answer)
                b.positions[i, at:end] = start + torch.arange(end - at)
                b.question[i, at:end] = q
                b.asking[i, at : at + len(ids)] = True
                if visible[list(question.proof)].any() or not question.proof:
                    b.labels[i, at + len(ids) - 1 : end - 1] = torch.tensor(answer)
                at = end
            b.mask[i, 0] = self._mask(frame_of, b.question[i], seen)
        return b

    def _lay_frames(self, b: Batch, i: int, moments: list[Moment]) -> None:
        sink = len(self.sink_ids)
        b.ids[i, :sink] = torch.tensor(self.sink_ids)
        end = sink + len(moments) * FRAME_TOKENS
        b.positions[i, :end] = torch.arange(end)
        for f, moment in enumerate(moments):
            at = sink + f * FRAME_TOKENS
            text = quiz.clock(moment.time_ns)
            clock_ids = torch.tensor(self.tokenizer(f"[{text}]").input_ids)
            b.ids[i, at : at + CLOCK_TOKENS] = clock_ids
            b.labels[i, at + 1 : at + CLOCK_TOKENS - 1] = clock_ids[2:]
            b.digits[i, f] = torch.tensor([int(c) for c in text if c != ":"])

    def _mask(self, frame_of: torch.Tensor, question_of: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """`[T, T]`: who sees whom. A frame sees the sink and the frames of a window before it."""
        length, sink = len(frame_of), len(self.sink_ids)
        order = torch.arange(length)
        causal = order[:, None] >= order[None]
        window = int(self.rng.choice([0, 4, 8]))
        apart = frame_of[:, None] - frame_of[None]
        frames = (frame_of[:, None] >= 0) & (frame_of[None] >= 0) & (apart <= window)
        asks = question_of >= 0
        own = asks[:, None] & (question_of[:, None] == question_of[None])
        sight = torch.zeros(length, length, dtype=torch.bool)
        sight[asks] = seen[question_of[asks]][:, frame_of.clamp(min=0)] & (frame_of >= 0)
        mask = causal & (frames | own | sight | (order < sink)[None])
        mask.fill_diagonal_(True)
        return mask

    def _context(self, past: int, recent: int) -> tuple[list[Moment], torch.Tensor]:
        """Moments in time order with their visual tokens; the last `recent` of them are contiguous."""
        rng = self.rng
        stream = self.streams[int(rng.integers(len(self.streams)))]
        now = int(rng.integers(past + recent + 8, len(stream.moments)))
        old = now - recent + 1
        if past < SCATTERED:
            begin = int(rng.integers(0, old - past + 1))
            recalled = range(begin, begin + past)
        else:
            recalled = sorted(rng.choice(old, past, replace=False).tolist())
        chosen = [*recalled, *range(old, now + 1)]
        moments = [stream.moments[i] for i in chosen]
        if past >= SCATTERED and rng.random() < 0.8:
            moments[:past] = self._hours_apart(moments[:past], moments[past].time_ns)
        shift = int(rng.integers(86_400)) * SECOND_NS
        moments = [Moment(m.time_ns + shift, m.until_ns + shift, m.state) for m in moments]
        return moments, stream.visual[chosen]

    def _hours_apart(self, recalled: list[Moment], now_ns: int) -> list[Moment]:
        """The same frames at any times of the last half day, so that no digit of their clocks can be guessed."""
        times = sorted(now_ns - int(ago) * SECOND_NS for ago in self.rng.integers(60, 43_200, len(recalled)))
        return [
            Moment(time_ns, time_ns + m.until_ns - m.time_ns, m.state)
            for time_ns, m in zip(times, recalled, strict=True)
        ]

    def _questions(
        self, moments: list[Moment], past: int, count: int, full: bool
    ) -> list[tuple[Question, list[int], list[int], torch.Tensor]]:
        rng, drawn = self.rng, []
        weights = ABOUT_THINGS if past >= SCATTERED else ABOUT_TIMES
        while len(drawn) < count:
            kind = quiz.QUESTION_KINDS[int(rng.choice(len(weights), p=weights))]
            about_past = kind.endswith("then") and rng.random() < 0.8
            question = quiz.ask(kind, moments[:past] if about_past else moments, rng)
            if question is None:
                continue
            ids = self._encode(f"<q>{question.text}<a>")
            answer = [*self._encode(question.answer), self.eos]
            drawn.append((question, ids, answer, self._visible(question, len(moments), past, full)))
        return drawn

    def _visible(self, question: Question, frames: int, past: int, full: bool) -> torch.Tensor:
        visible = torch.ones(frames, dtype=torch.bool)
        draw = self.rng.random()
        if full or draw < 0.8:
            return visible
        visible[:past] = False
        if draw < 0.87:
            visible[list(question.proof)] = True
        return visible

    def _encode(self, text: str) -> list[int]:
        if text not in self._word_ids:
            ids = self.tokenizer(text).input_ids
            if any(c.isdigit() for c in text):
                return ids
            self._word_ids[text] = ids
        return self._word_ids[text]


SCATTERED = 4  # from so many recalled frames on, they come from anywhere


def _weights(**by_word: float) -> np.ndarray:
    """Of each kind of question, by the last word of its name."""
    weights = np.array([by_word.get(kind.split()[-1], 1.0) for kind in quiz.QUESTION_KINDS])
    return weights / weights.sum()


ABOUT_TIMES = _weights(then=1.0, now=0.25, appear=0.3, colour=0.3, when=0.5)
ABOUT_THINGS = _weights(then=0.15, now=0.25, appear=1.0, colour=0.8, when=2.5)
