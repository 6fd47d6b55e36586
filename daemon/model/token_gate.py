"""`TokenGate`: which visual tokens of a frame show anything new, place by place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ...memory.block import Places


class Run(NamedTuple):
    """Frames in a row that keep the same places, and can be encoded together.

    Attributes:
        frames: their indices.
        places: None where they are whole.
        inputs: what is kept of each, `[n, T, hidden]`; only text where they show nothing new.
    """

    frames: list[int]
    places: Places | None
    inputs: Tensor


def runs(gate: TokenGate | None, inputs: Tensor, times_ns: Sequence[int]) -> Iterator[Run]:
    """Frames `[n, T, hidden]` behind a gate, or whole where there is none."""
    places = [gate.places(x, time_ns) if gate else None for x, time_ns in zip(inputs, times_ns, strict=True)]
    for where, alike in groupby(range(len(places)), places.__getitem__):
        frames = list(alike)
        yield Run(frames, where, inputs[frames] if where is None else inputs[frames][:, list(where.kept)])


class TokenGate:
    """Compares each visual token with the last one that was kept at its place, before the text model sees either.

    So does StreamingTOM (arXiv 2510.18269), but with the frame before: there a thing that creeps, or a lamp that dims
    for minutes, is never new. A token is kept as well where the one kept before it may have left the window, so that
    what is seen now is always whole there.

    Args:
        cosine: a token less like the kept one than this is new.
        whole_ns: a frame is kept whole at least this often.
        window_tokens: of the model; less than a frame has keeps every frame whole.
        text_tokens: the first tokens of a frame, which are always kept.
    """

    def __init__(self, cosine: float, *, whole_ns: int, window_tokens: int, text_tokens: int) -> None:
        self._cosine, self._whole_ns = cosine, whole_ns
        self._window_tokens, self._text_tokens = window_tokens, text_tokens
        self._kept: Tensor | None = None  # [V, hidden]
        self._since = torch.zeros(0, dtype=torch.long)  # tokens encoded after the kept one of each place
        self._whole_at_ns = 0

    def reset(self) -> None:
        """The next frame is kept whole: what was kept before may be gone."""
        self._kept = None

    def places(self, frame: Tensor, time_ns: int) -> Places | None:
        """Where the tokens to keep of a frame `[T, hidden]` stand, or None where it is kept whole.

        Only text is kept of a frame that shows nothing new.
        """
        visual = frame[self._text_tokens :].float()
        if self._kept is None or time_ns - self._whole_at_ns >= self._whole_ns:
            self._keep_whole(visual, time_ns)
            return None
        new = (cosine_similarity(visual, self._kept, dim=-1) < self._cosine).cpu()
        new |= self._since + len(frame) + self._text_tokens > self._window_tokens
        if new.all():
            self._keep_whole(visual, time_ns)
            return None
        if new.any():
            self._kept[new] = visual[new]
            self._since += self._text_tokens + int(new.sum())
            self._since[new] = 0
        kept = new.nonzero().flatten() + self._text_tokens
        return Places((*range(self._text_tokens), *kept.tolist()), len(frame))

    def _keep_whole(self, visual: Tensor, time_ns: int) -> None:
        self._kept, self._whole_at_ns = visual.clone(), time_ns
        self._since = torch.zeros(len(visual), dtype=torch.long)
