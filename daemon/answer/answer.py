"""`Answer`: one question's life, from words to tokens and evidence."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, TypeAlias

from ...memory.tiers import Tiers
from ...retrieval.settings import RetrievalConfig
from ..calibration.calibration import Calibration, heads_of
from ..calibration.confidence import confidence_of
from ..model.video_lm import VideoLM
from ..protocol import AnswerEnd, Ask, Reply
from ..stream.stream import Stream
from .background import BackgroundWork
from .evidence import AnswerPart, Outcome, heads_to_watch, rank_evidence
from .explanation import explain
from .plan import make_plan
from .question_time import QuestionTime, read_time
from .recall import Recall
from .speaker import Speaker
from .ways import choose_way

Turns: TypeAlias = Generator[BackgroundWork[Any] | None, None, None]


class Answer:
    """A question being answered in short steps, so that frames and other answers go on beside it.

    Args:
        on_reply: takes each `Delta`, and the `AnswerEnd` or `ErrorReply`.
        calibration: the model's retrieval heads and the curve of its confidence; None where they were not measured.
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
        on_reply: Callable[[Reply], None],
    ) -> None:
        self.request, self.on_reply = request, on_reply
        self._stream, self._model, self._tiers, self._config = stream, model, tiers, config
        self._curve = None if calibration is None else calibration.confidence
        heads = heads_to_watch(heads_of(calibration), model)
        self._speaker = Speaker(request, model, stream.window, heads, on_reply)
        self.steps = self._run()

    @property
    def begun(self) -> bool:
        """Whether some of it has been said: then it ends by itself where it is cancelled."""
        return bool(self._speaker.log_probs)

    @property
    def cancelled(self) -> bool:
        """Whether the client wants no more of it."""
        return self._speaker.cancelled

    def cancel(self) -> None:
        """Has it end at its next step. From any thread."""
        self._speaker.cancelled = True

    def stop(self) -> None:
        """Ends it before a word was said."""
        self.steps.close()
        self._speaker.stopped = "cancelled"
        self._end(QuestionTime(self.request.question, None), Outcome([AnswerPart("")]))

    def _run(self) -> Turns:
        """The whole life; each `next` is a short piece of work on the engine's thread.

        It yields the work on another thread that the next step waits for, or None.

        Raises:
            TimeSpanError: the question's time span is impossible.
            StorageError: the memory cannot be read.
        """
        # 1. What time it is about.
        recall = Recall(self._stream, self._model, self._tiers)
        about = yield from read_time(self.request, self._stream, recall.rank)
        self._speaker.mark("time")
        yield None
        # 2. What the memory has of it, and the way to answer from that.
        plan = make_plan(about, self._stream.retriever.index, self._stream.window, self._config)
        way = choose_way(plan, self._stream, self._model, recall, self._speaker)
        # 3. Blocks back before the model's eyes, and tokens.
        outcome = yield from way.run()
        self._speaker.mark("reduce" if len(outcome.parts) > 1 else "rest")
        # 4. What they rest on.
        self._end(about, outcome)

    def _end(self, about: QuestionTime, outcome: Outcome) -> None:
        """Tells the client what was said and what it rests on."""
        speaker, now, span = self._speaker, time.perf_counter(), about.span
        self.on_reply(
            AnswerEnd(
                request_id=self.request.request_id,
                text=outcome.parts[-1].text,
                stream=self._stream.name,
                evidence=rank_evidence(outcome, self._picture),
                since_ns=span.since_ns if span else None,
                until_ns=span.until_ns if span else None,
                gaps=self._stream.gaps(span) if span else [],
                recalled=[block_id for block_id, block in outcome.blocks.items() if block.origin == "recalled"],
                tokens=len(speaker.log_probs),
                confidence=confidence_of(speaker.log_probs, self._curve),
                ttft_ms=((speaker.first_token_at or now) - speaker.began) * 1e3,
                total_ms=(now - speaker.began) * 1e3,
                stopped=speaker.stopped,
                explanation=explain(about, outcome, speaker.steps) if self.request.explain else None,
            )
        )

    def _picture(self, block_id: int) -> bytes:
        return self._tiers.picture(self._stream.name, block_id) if self.request.pictures else b""
