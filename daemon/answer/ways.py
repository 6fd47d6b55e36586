"""`Way`: how a question is answered, once its time is known. There are four, and `choose_way` takes one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from ...retrieval.retrievers.retriever import Hit
from ...retrieval.steps import Steps
from ..model.video_lm import VideoLM
from ..stream.stream import Stream
from .evidence import AnswerPart, Outcome
from .plan import RecallPlan
from .question_time import format_time
from .recall import ContextBlock, Recall
from .speaker import Speaker
from .wholespan import Note, join_lists, write_prompt


@dataclass(frozen=True)
class Way(ABC):
    """From a plan to an answer."""

    plan: RecallPlan
    stream: Stream
    model: VideoLM
    recall: Recall
    speaker: Speaker

    @abstractmethod
    def run(self) -> Steps[Outcome]:
        """Recalls and answers, in short steps on the engine's thread."""


class NoVideo(Way):
    """Nothing was seen of that time, and so the model is not asked."""

    def run(self) -> Steps[Outcome]:
        """See `Way.run`."""
        yield from ()
        span = self.plan.time.span
        assert span is not None, "there is always video of any time"
        since, until = ("" if time_ns is None else format_time(time_ns, self.stream.zone) for time_ns in span)
        then = f"from {since} to {until}" if since and until else f"since {since}" if since else f"until {until}"
        text = f"There is no video {then}."
        self.speaker.stopped = "no video"
        self.speaker.say(text)
        return Outcome([AnswerPart(text)])


class AtOnce(Way):
    """One context: `sink | recalled | window`."""

    def run(self) -> Steps[Outcome]:
        """See `Way.run`."""
        time, hits, blocks = self.plan.time, list[Hit](), list[ContextBlock]()
        if not time.present:
            hits = yield from self.recall.rank(time.question, time.span, self.plan.in_window)
        self.speaker.mark("rank")
        yield
        if time.present:
            blocks = self.recall.recent(self.plan, anything_recalled=False)
        else:
            blocks = yield from self.recall.gather(self.plan, hits)
        return Outcome([(yield from self.speaker.answer(time.question, blocks, aloud=True))], hits)


class ByLayer(Way):
    """ReKV's way: each layer has its own blocks, whose use is in how many layers they stand."""

    def run(self) -> Steps[Outcome]:
        """See `Way.run`."""
        ids = self.model.prompt.question_ids(self.plan.time.question)
        by_layer = self.recall.by_layer(self.plan)
        context = yield from by_layer.context(ids)
        text = yield from self.speaker.decode(context, ids)
        use = {hit.info.block_id: hit.score for hit in by_layer.hits}
        return Outcome([AnswerPart(text, [ContextBlock.recalled(block, "ram") for block in by_layer.blocks], use)])


class PartByPart(Way):
    """All of a time that one context cannot hold: asked of each part, and what was answered made one answer."""

    def run(self) -> Steps[Outcome]:
        """See `Way.run`."""
        answered, notes = list[AnswerPart](), list[Note]()
        for infos in self.plan.parts:
            blocks = yield from self.recall.fetch(infos)
            answered.append((yield from self.speaker.answer(self.plan.time.question, blocks, aloud=False)))
            if self.speaker.cancelled:
                self.speaker.stopped = "cancelled"
                return Outcome([*answered, AnswerPart("")])
            notes.append(Note(infos[0].start_ns, infos[-1].end_ns, answered[-1].text))
        text = yield from self._reduce(notes)
        return Outcome([*answered, AnswerPart(text)])

    def _reduce(self, notes: list[Note]) -> Steps[str]:
        """One answer from those about the parts: by the model, if it can read them, else lists are joined."""
        prompt = write_prompt(self.plan.time.question, notes, self.stream.zone)
        if self.model.prompt.can_read(prompt):
            context = self.speaker.lay_out([])
            return (yield from self.speaker.decode(context, self.model.prompt.question_ids(prompt)))
        text = join_lists([note.text for note in notes])
        self.speaker.say(text)
        return text


def choose_way(plan: RecallPlan, stream: Stream, model: VideoLM, recall: Recall, speaker: Speaker) -> Way:
    """The way that a plan asks for."""
    if not plan.video:
        way: type[Way] = NoVideo
    elif stream.retriever.rank_layer is not None:
        way = ByLayer
    else:
        way = PartByPart if plan.parts else AtOnce
    return way(plan, stream, model, recall, speaker)
