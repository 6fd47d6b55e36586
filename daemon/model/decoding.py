"""From logits to tokens, and from tokens to text that can be shown as it comes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_COLDEST = 1e-30  # float32 can hold little less; by then only the likeliest tokens have a chance


def sample(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator | None) -> int:
    """The next token from logits `[vocabulary]`; temperature 0 is greedy. Nucleus sampling: arXiv 1904.09751."""
    if temperature <= 0:
        return int(logits.argmax())
    below_best = logits.float() - logits.max()  # so a small temperature gives minus infinity, never infinity
    ranked, order = torch.softmax(below_best / max(temperature, _COLDEST), -1).sort(descending=True)
    before = ranked.cumsum(-1) - ranked
    outside = before >= top_p
    outside[0] = False  # the likeliest is always in the nucleus, however small that is
    return int(order[torch.multinomial(ranked.masked_fill(outside, 0.0), 1, generator=generator)])


class Detokenizer:
    """Turns tokens into text piece by piece, never into half a character."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self.text = ""

    def add(self, token: int) -> str:
        """Returns the text that this token completes; empty while a character is incomplete."""
        self._ids.append(token)
        text: str = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        if text.endswith("�"):
            return ""
        return self._advance(text)

    def finish(self) -> str:
        """Returns the rest, complete or not."""
        return self._advance(self._tokenizer.decode(self._ids, skip_special_tokens=True))

    def _advance(self, text: str) -> str:
        piece, self.text = text[len(self.text) :], text
        return piece
