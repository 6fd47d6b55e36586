"""`Speaker`: says an answer, a few tokens a step, and keeps its books."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ...memory.window import Window
from ...retrieval.steps import Steps
from ..model.context import Context, GrowingLayout
from ..model.decoding import sample
from ..model.video_lm import VideoLM
from ..protocol import Ask, Delta, Reply, Step
from .evidence import AnswerPart, share_attention
from .recall import ContextBlock

_TOKENS_A_STEP = 4


class Speaker:
    """Decodes for one question, and sends what it says to the client.

    Args:
        window: the stream's; its sink stands before all.
        heads: the query heads, by layer, whose attention says what an answer rests on.
        on_reply: takes each `Delta`.

    Attributes:
        cancelled: whether the client wants no more; may be set by any thread.
        stopped: why it ended, as in `AnswerEnd`.
        log_probs: of the tokens so far.
        began, first_token_at: by `time.perf_counter`; the second is 0 until there is one.
        steps: how long each piece of work took; see `mark`.
    """

    def __init__(
        self,
        request: Ask,
        model: VideoLM,
        window: Window,
        heads: Mapping[int, Sequence[int]],
        on_reply: Callable[[Reply], None],
    ) -> None:
        self._request, self._model, self._window, self._heads, self._on_reply = request, model, window, heads, on_reply
        self.cancelled = False
        self.stopped = "end"
        self.log_probs: list[float] = []
        self.began = self._marked = time.perf_counter()
        self.first_token_at = 0.0
        self.steps: list[Step] = []

    def mark(self, name: str) -> None:
        """Notes how long the work since the last mark took."""
        now = time.perf_counter()
        self.steps.append(Step(name=name, ms=(now - self._marked) * 1e3))
        self._marked = now

    def say(self, text: str) -> None:
        """Sends the client words that the model need not decode."""
        self._on_reply(Delta(request_id=self._request.request_id, text=text))

    def lay_out(self, blocks: Sequence[ContextBlock]) -> Context:
        """`sink | recalled | window`."""
        parts = [self._window.sink, *((block.keys, block.values) for block in blocks)]
        recalled = sum(block.origin != "window" for block in blocks)
        return self._model.lay_out(parts, [None, *(block.places for block in blocks)], recalled=recalled)

    def answer(self, question: str, blocks: Sequence[ContextBlock], *, aloud: bool) -> Steps[AnswerPart]:
        """The question answered behind some blocks, to the client or, not aloud, for later use."""
        self.mark("fetch")
        context = self.lay_out(blocks)
        context.watch(self._heads)
        self.mark("lay out")
        yield
        laid_out = context.tokens
        text = yield from self.decode(context, self._model.prompt.question_ids(question), aloud=aloud)
        self.mark("decode")
        return AnswerPart(text, blocks, share_attention(blocks, self._window.sink_tokens, context.attended(laid_out)))

    def decode(self, context: GrowingLayout, ids: list[int], *, aloud: bool = True) -> Steps[str]:
        """Prefills a question and decodes, a few tokens a step."""
        request, detokenizer = self._request, self._model.new_detokenizer()
        generator = torch.Generator(device=self._model.device).manual_seed(request.seed)

        def choose(logits: Tensor) -> int:
            token = sample(logits, request.temperature, request.top_p, generator)
            self.log_probs.append(float(logits.float().log_softmax(-1)[token]))
            return token

        logits = yield from self._model.prefill_in_steps(context, ids)
        self.stopped = "length"
        decoded = self._model.decode(context, logits, choose)
        for count, token in enumerate(itertools.islice(decoded, request.max_tokens), 1):
            self.first_token_at = self.first_token_at or time.perf_counter()
            if token in self._model.stop_ids or self.cancelled:
                self.stopped = "cancelled" if self.cancelled else "end"
                break
            if (piece := detokenizer.add(token)) and aloud:
                self.say(piece)
            if count % _TOKENS_A_STEP == 0:
                yield
        if (piece := detokenizer.finish()) and aloud:
            self.say(piece)
        return detokenizer.text
