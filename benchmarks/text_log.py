"""A log of a yard in words, remembered block by block by a language model that nobody here trained.

SmolLM2-135M-Instruct reads a line a block behind the sliding window, just as frames are read. Planted facts are asked
for with the right block and seven others recalled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from smollm import PLAIN, load

from longwatch.memory.block import Block, BlockInfo

BLOCK_TOKENS, WINDOW_BLOCKS, RECALLED = 24, 8, 8
PEOPLE = "Anna Boris Clara David Emma Felix Grace Henry Irene Jack Karen Louis Maria Nora Oscar Paula Rosa Simon Tina"
COLOURS = "red blue green yellow black white brown orange purple grey"
THINGS = (
    "umbrella suitcase bicycle ladder toolbox kettle violin lantern backpack basket helmet blanket carpet mirror "
    "guitar barrel bucket camera jacket trumpet wheelbarrow hammer pillow vase"
)
PLACES = ("by the gate", "at the fence", "in the garage", "near the fountain", "on the stairs")
CALM = (
    "the yard was empty and quiet and nobody came along the road",
    "rain fell on the roof and ran down the pipes to the ground",
    "a bird sat on the wall for a while and then flew away",
    "the wind moved the leaves and some of them fell on the path",
    "the lamp over the door flickered once and was steady again",
    "clouds covered the sun and it became a little colder outside",
)


class LogQuestion(NamedTuple):
    """A question behind its recalled blocks."""

    blocks: list[int]
    question: list[int]
    answer: list[int]


class TextLog:
    """A written log, its blocks, and the questions about it.

    Attributes:
        blocks: each line's block, keys and values `[L, H, 24, D]` float16.
        asked: three questions for each planted thing: its colour, who left it, and where.
    """

    def __init__(self, folder: Path, lines: int = 216, seed: int = 1) -> None:
        self._model = load(folder, PLAIN, WINDOW_BLOCKS * BLOCK_TOKENS)
        rng = np.random.default_rng(seed)
        written, facts = _write(lines, rng)
        self.blocks = self._encode(written)
        self.asked = [self._ask(line, question, answer, lines, rng) for line, question, answer in facts]

    def losses(self, blocks: Sequence[Block]) -> NDArray[np.float32]:
        """Negative log-likelihood of each answer's each token, in nats, with these blocks in place of the log's own."""
        return np.array([loss for asked in self.asked for loss in self._nll(blocks, asked)], np.float32)

    def _nll(self, blocks: Sequence[Block], asked: LogQuestion) -> Iterator[float]:
        recalled = [(blocks[i].keys.float(), blocks[i].values.float()) for i in asked.blocks]
        context = self._model.lay_out([self._model.new_window().sink, *recalled])
        logits = self._model.prefill(context, asked.question)
        for token in asked.answer:
            yield -float(logits.log_softmax(-1)[token])
            logits = self._model.prefill(context, [token])

    def _encode(self, written: list[str]) -> list[Block]:
        window = self._model.new_window()
        blocks = []
        for number, line in enumerate(written, 1):
            ids = self._model.prompt.encode(line)
            assert len(ids) <= BLOCK_TOKENS, f"{line!r} has {len(ids)} tokens"
            ids += self._model.prompt.encode("\n") * (BLOCK_TOKENS - len(ids))
            keys, values = (x[0] for x in self._model.prefill_blocks(self._model.embed_text(ids), window))
            window.append(number, keys, values)
            info = BlockInfo(number, number * 10**9, number * 10**9, BLOCK_TOKENS)
            blocks.append(replace(Block.bare(info, keys.half(), values.half()), signature=torch.zeros(1, 4).half()))
        return blocks

    def _ask(self, line: int, question: str, answer: str, lines: int, rng: np.random.Generator) -> LogQuestion:
        others = rng.choice([i for i in range(lines) if i != line], RECALLED - 1, replace=False).tolist()
        return LogQuestion(
            sorted([line, *others]), self._model.prompt.encode(question), self._model.prompt.encode(answer)
        )


def _write(lines: int, rng: np.random.Generator) -> tuple[list[str], list[tuple[int, str, str]]]:
    """The log's lines; and questions with their line and answer."""
    things, people, colours = (list(rng.permutation(words.split())) for words in (THINGS, PEOPLE, COLOURS))
    planted = sorted(rng.choice(lines, len(things), replace=False).tolist())
    written = [f"At {_clock(i)} {CALM[int(rng.integers(len(CALM)))]}." for i in range(lines)]
    facts = []
    for n, (line, thing) in enumerate(zip(planted, things, strict=True)):
        person, colour = people[n % len(people)], colours[n % len(colours)]
        place = PLACES[int(rng.integers(len(PLACES)))]
        written[line] = f"At {_clock(line)} {person} left a {colour} {thing} {place}, then went away."
        facts += [
            (line, f"What colour was the {thing}? The {thing} was", f" {colour}"),
            (line, f"Who left the {thing}? The {thing} was left by", f" {person}"),
            (line, f"Where was the {thing} left? The {thing} was left", f" {place}"),
        ]
    return written, facts


def _clock(line: int) -> str:
    return f"{8 + line // 60:02}:{line % 60:02}"
