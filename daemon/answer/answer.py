"""`Answer`: one question's life, from words to tokens and evidence."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ...memory.tiers import Tiers
from ...retrieval.blockrows import BlockRows
from ...retrieval.retrievers.rekv import RekvRetriever
from ...retrieval.retrievers.retriever import Hit
from ...retrieval.settings import RetrievalConfig
from ...retrieval.steps import Steps
from ...retrieval.time.span import Span
from ..calibration.calibration import Calibration, heads_of
from ..calibration.confidence import confidence_of
from ..model.context import GrowingLayout
from ..model.decoding import sample
from ..model.video_lm import VideoLM
from ..protocol import AnswerEnd, Ask, Delta, Reply, Step
from ..stream.stream import Stream
from . import wholespan
from .elsewhere import Elsewhere
from .evidence import Said, evidence_of, explanation_of, use_of, watched
from .recall import Recall, Seen, recalled
from .when import When, clock, when

_TOKENS_A_STEP = 4
Turns: TypeAlias = Generator[Elsewhere[Any] | None, None, None]


class Answer:
    """A question being answered in short steps, so that frames and other answers go on beside it.

    Args:
        emit: takes each `Delta`, and the `AnswerEnd` or `ErrorReply`.
        calibration: what is known of the model's retrieval heads and of its confidence; None where nothing is.
    """

    def __init__(
        self,
        request: Ask,
        stream: Stream,
        *,
        model: VideoLM,
        tiers: Tiers,
        config: RetrievalConfig,
        calibration: Calibration | None,
        emit: Callable[[Reply], None],
    ) -> None:
        self.request, self.emit = request, emit
        self.cancelled = False
        self._stream, self._model, self._tiers, self._config = stream, model, tiers, config
        self._watched = watched(heads_of(calibration), model)
        self._sure = None if calibration is None else calibration.confidence
        self._began = self._marked = time.perf_counter()
        self._first_token = 0.0
        self._steps_taken: list[Step] = []
        self._log_probs: list[float] = []  # of the tokens so far
        self._stopped = "end"
        self.steps = self._steps()

    @property
    def begun(self) -> bool:
        """Whether some of it has been said: then it ends by itself where it is cancelled."""
        return bool(self._log_probs)

    def stop(self) -> None:
        """Ends it before a word was said."""
        self.steps.close()
        self._stopped = "cancelled"
        self._end(When(self.request.question, None), [], [Said("", [], {})])

    def _steps(self) -> Turns:
        """The whole life; each `next` is a short piece of work on the engine's thread.

        What it gives is what must be done elsewhere before the next step, or None.

        Raises:
            TimeSpanError: the question's time span is impossible.
            StorageError: the memory cannot be read.
        """
        # 1. What time it is about.
        recall = Recall(self._stream, self._model, self._tiers, self._config)
        asked = yield from when(self.request, self._stream, recall)
        self._mark("time")
        yield None
        # 2. Which blocks bear on it, back before the model's eyes; tokens, and what they rest on.
        hits: list[Hit] = []
        shown = None if asked.span is None else recall.blocks(asked.span)
        if asked.span is not None and not shown:
            said = [self._without_video(asked.span)]
        elif isinstance(self._stream.retriever, RekvRetriever):
            said = [(yield from self._layer_by_layer(recall, self._stream.retriever, asked))]
        elif shown is not None and 0 < recall.room(shown) < len(shown) and wholespan.asks_for_all(asked.question):
            said = yield from self._part_by_part(recall, shown, asked.question)
        else:
            hits = [] if asked.present else (yield from recall.rank(asked.question, asked.span))
            self._mark("rank")
            yield None
            said = [(yield from self._at_once(recall, hits, asked))]
        self._mark("reduce" if len(said) > 1 else "rest")
        self._end(asked, hits, said)

    def _at_once(self, recall: Recall, hits: list[Hit], asked: When) -> Steps[Said]:
        """One context: `sink | recalled | window`."""
        seen = yield from recall.gather(hits, asked.span)
        return (yield from self._say(recall, seen, asked.question, aloud=True))

    def _layer_by_layer(self, recall: Recall, retriever: RekvRetriever, asked: When) -> Steps[Said]:
        """ReKV's way: each layer has its own blocks, whose use is in how many layers they stand."""
        ids = self._model.prompt.question_ids(asked.question)
        by_layer = recall.by_layer(retriever, asked.span)
        context = yield from by_layer.context(ids)
        text = yield from self._decode(context, ids, aloud=True)
        use = {hit.info.block_id: hit.score for hit in by_layer.hits}
        return Said(text, [recalled(block, "ram") for block in by_layer.blocks], use)

    def _part_by_part(self, recall: Recall, shown: BlockRows, question: str) -> Steps[list[Said]]:
        """All of a time that one context cannot hold: asked of each part, and reduced to one answer, said aloud."""
        said, notes = [], []
        for part in wholespan.parts(shown, recall.room(shown), self._config.span_passes):
            seen = yield from recall.fetch(part)
            said.append((yield from self._say(recall, seen, question, aloud=False)))
            if self.cancelled:
                self._stopped = "cancelled"
                return [*said, Said("", [], {})]
            notes.append(wholespan.Note(part[0].start_ns, part[-1].end_ns, said[-1].text))
        prompt = wholespan.as_prompt(question, notes, self._stream.zone)
        if self._model.prompt.can_read(prompt):
            context = recall.lay_out([])
            text = yield from self._decode(context, self._model.prompt.question_ids(prompt), aloud=True)
        else:
            text = wholespan.joined([note.text for note in notes])
            self.emit(Delta(request_id=self.request.request_id, text=text))
        return [*said, Said(text, [], {})]

    def _without_video(self, span: Span) -> Said:
        """Nothing was seen of that time, and so the model is not asked."""
        since, until = ("" if time_ns is None else clock(time_ns, self._stream.zone) for time_ns in span)
        then = f"from {since} to {until}" if since and until else f"since {since}" if since else f"until {until}"
        text, self._stopped = f"There is no video {then}.", "no video"
        self.emit(Delta(request_id=self.request.request_id, text=text))
        return Said(text, [], {})

    def _say(self, recall: Recall, seen: list[Seen], question: str, *, aloud: bool) -> Steps[Said]:
        """The question answered behind some blocks."""
        self._mark("fetch")
        context = recall.lay_out(seen)
        context.watch(self._watched)
        self._mark("lay out")
        yield
        laid_out, ids = context.tokens, self._model.prompt.question_ids(question)
        text = yield from self._decode(context, ids, aloud=aloud)
        self._mark("decode")
        return Said(text, seen, use_of(seen, self._stream.window.sink_tokens, context.attended(laid_out)))

    def _decode(self, context: GrowingLayout, ids: list[int], *, aloud: bool) -> Steps[str]:
        """Prefills a question and decodes, a few tokens a step."""
        request, detokenizer = self.request, self._model.new_detokenizer()
        generator = torch.Generator(device=self._model.device).manual_seed(request.seed)

        def choose(logits: Tensor) -> int:
            token = sample(logits, request.temperature, request.top_p, generator)
            self._log_probs.append(float(logits.float().log_softmax(-1)[token]))
            return token

        logits = yield from self._model.prefill_in_steps(context, ids)
        self._stopped = "length"
        decoded = self._model.decode(context, logits, choose)
        for count, token in enumerate(itertools.islice(decoded, request.max_tokens), 1):
            self._first_token = self._first_token or time.perf_counter()
            if token in self._model.stop_ids or self.cancelled:
                self._stopped = "cancelled" if self.cancelled else "end"
                break
            if (piece := detokenizer.add(token)) and aloud:
                self.emit(Delta(request_id=request.request_id, text=piece))
            if count % _TOKENS_A_STEP == 0:
                yield
        if (piece := detokenizer.finish()) and aloud:
            self.emit(Delta(request_id=request.request_id, text=piece))
        return detokenizer.text

    def _end(self, asked: When, hits: list[Hit], said: list[Said]) -> None:
        """Tells the client what was said and what it rests on."""
        now, span = time.perf_counter(), asked.span
        seen = {block.info.block_id: block for part in said for block in part.seen}
        self.emit(
            AnswerEnd(
                request_id=self.request.request_id,
                text=said[-1].text,
                stream=self._stream.name,
                evidence=evidence_of(said, hits, self._picture),
                since_ns=span.since_ns if span else None,
                until_ns=span.until_ns if span else None,
                gaps=self._stream.gaps(span) if span else [],
                recalled=[block_id for block_id, block in seen.items() if block.origin == "recalled"],
                tokens=len(self._log_probs),
                confidence=confidence_of(self._log_probs, self._sure),
                ttft_ms=((self._first_token or now) - self._began) * 1e3,
                total_ms=(now - self._began) * 1e3,
                stopped=self._stopped,
                explanation=explanation_of(asked, hits, said, self._steps_taken) if self.request.explain else None,
            )
        )

    def _picture(self, block_id: int) -> bytes:
        return self._tiers.picture(self._stream.name, block_id) if self.request.pictures else b""

    def _mark(self, step: str) -> None:
        """Notes how long the work since the last mark took."""
        now = time.perf_counter()
        self._steps_taken.append(Step(name=step, ms=(now - self._marked) * 1e3))
        self._marked = now
