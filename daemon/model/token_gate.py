"""`TokenGate`: which visual tokens of a frame show something new, place by place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ...memory.block import Places


class FrameRun(NamedTuple):
    """Frames in a row that keep the same places and so can be prefilled together.

    Attributes:
        frames: their indices.
        places: what is kept of each; None if they are whole.
        inputs: the kept tokens, `[n, T, hidden]`; only text if the frames show nothing new.
    """

    frames: list[int]
    places: Places | None
    inputs: Tensor


def gate_frames(gate: TokenGate | None, inputs: Tensor, times_ns: Sequence[int]) -> Iterator[FrameRun]:
    """Puts frames `[n, T, hidden]` through a gate. Without one they stay whole."""
    places = [gate.places(x, time_ns) if gate else None for x, time_ns in zip(inputs, times_ns, strict=True)]
    for where, alike in groupby(range(len(places)), places.__getitem__):
        frames = list(alike)
        yield FrameRun(frames, where, inputs[frames] if where is None else inputs[frames][:, list(where.kept)])


class TokenGate:
    """Compares each visual token with the last one kept at its place, before either goes through the text model.

    StreamingTOM (arXiv 2510.18269) compares with the frame before instead. There a thing that creeps, or a lamp that
    dims for minutes, changes too little from frame to frame to ever be new. Compared with what was kept, it adds up:

        frame            0     1     2     3     4
        a place shows    a     a'    a''   a'''  b
        compared with          a     a     a     a'''
        kept             yes   no    no    yes   yes

    The window must show the whole scene, not only what changed in it. So a place that shows nothing new is kept once
    more when the token kept there may leave the window.

    Args:
        cosine: a token is new if its cosine similarity with the kept one is below this.
        whole_ns: a frame is kept whole at least this often.
        window_tokens: of the model. If a frame has more, every frame is kept whole.
        text_tokens: how many tokens of text a frame begins with. They are always kept.
    """

    def __init__(self, cosine: float, *, whole_ns: int, window_tokens: int, text_tokens: int) -> None:
        self._cosine, self._whole_ns = cosine, whole_ns
        self._window_tokens, self._text_tokens = window_tokens, text_tokens
        self._kept: Tensor | None = None  # [V, hidden]
        self._since = torch.zeros(0, dtype=torch.long)  # per place: tokens kept in later frames
        self._whole_at_ns = 0

    def reset(self) -> None:
        """Has the next frame kept whole, as what was kept before may be gone."""
        self._kept = None

    def places(self, frame: Tensor, time_ns: int) -> Places | None:
        """The places of the tokens to keep of a frame `[T, hidden]`, or None if all are kept.

        Of a frame that shows nothing new, only the text is kept.
        """
        visual = frame[self._text_tokens :].float()
        if self._kept is None or time_ns - self._whole_at_ns >= self._whole_ns:
            self._keep_whole(visual, time_ns)
            return None
        new = (cosine_similarity(visual, self._kept, dim=-1) < self._cosine).cpu()
        # A block is in the window whole or not at all. The one with a place's kept token has at most a frame's tokens,
        # `since` more came behind it, and this frame brings at least its text: all of that must fit.
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
