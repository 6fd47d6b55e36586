"""A daemon without its sockets, for benchmarks: the real model, memory, index and streams, stepped by hand."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from longwatch.daemon.answer.answer import Answer
from longwatch.daemon.calibration.calibration import Calibration, find_calibration, heads_of
from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.log import set_up
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.daemon.protocol import AnswerEnd, Ask, Delta, Reply
from longwatch.daemon.stream.maker import StreamMaker, make_tiers
from longwatch.daemon.stream.stream import Stream
from longwatch.memory.settings import MemoryConfig
from longwatch.memory.store import Store
from longwatch.memory.tiers import Tiers
from longwatch.retrieval.heads import RetrievalHeads
from longwatch.retrieval.settings import RetrievalConfig


class Rig(NamedTuple):
    """The parts that a benchmark drives."""

    model: VideoLM
    tiers: Tiers
    maker: StreamMaker
    stream: Stream
    retrieval: RetrievalConfig
    calibration: Calibration | None

    @property
    def heads(self) -> RetrievalHeads | None:
        """The model's retrieval heads."""
        return heads_of(self.calibration)

    def watch(self, blocks: int, told: Callable[[int], None] = lambda _: None) -> None:
        """Steps the stream until it has so many blocks."""
        while len(self.stream.retriever.index) < blocks:
            if not self.stream.step():
                time.sleep(0.0005)
            told(len(self.stream.retriever.index))

    def watch_all(self, told: Callable[[int], None] = lambda _: None) -> None:
        """Steps the stream to its end, and tells the time it has come to."""
        while not self.stream.ended:
            if not self.stream.step():
                time.sleep(0.0005)
            told(self.stream.last.end_ns if self.stream.last is not None else 0)

    def ask(self, question: str, max_tokens: int = 32, span_blocks: int = 0) -> tuple[AnswerEnd, float]:
        """The answer, and the seconds from its first token to its last. `span_blocks` as in `RetrievalConfig`."""
        replies: list[Reply] = []
        request = Ask(request_id="benchmark", question=question, max_tokens=max_tokens)
        answer = Answer(
            request,
            self.stream,
            model=self.model,
            tiers=self.tiers,
            config=msgspec.structs.replace(self.retrieval, span_blocks=span_blocks),
            calibration=self.calibration,
            on_reply=replies.append,
        )
        for _ in answer.steps:
            pass
        *deltas, end = replies
        assert isinstance(end, AnswerEnd), f"the answer ended with {end!r}"
        assert all(isinstance(delta, Delta) for delta in deltas), "text comes before the end"
        return end, (end.total_ms - end.ttft_ms) / 1e3


@contextmanager
def rig(
    source: SourceConfig,
    model: ModelConfig,
    *,
    ram_bytes: int = 1 << 30,
    recall_blocks: int = RetrievalConfig().recall_blocks,
    retriever: str = RetrievalConfig().retriever,
) -> Iterator[Rig]:
    """A rig on a temporary store; the stream is being captured. What the daemon would log goes to stderr."""
    set_up(level="warning", as_json=False)
    with tempfile.TemporaryDirectory() as folder:
        config = MemoryConfig(folder=str(Path(folder) / "store"), codec="int4", ram_bytes=ram_bytes)
        store, lm = Store(config), VideoLM.load(model)
        tiers = make_tiers(lm, store, config)
        calibration = find_calibration(model.name, lm.fingerprint)
        retrieval = msgspec.convert({"retriever": retriever, "recall_blocks": recall_blocks}, RetrievalConfig)
        maker = StreamMaker(lm, tiers, retrieval, heads=heads_of(calibration))
        stream = maker.make("yard", source)
        stream.start()
        try:
            yield Rig(lm, tiers, maker, stream, retrieval, calibration)
        finally:
            stream.stop()
            store.close()
