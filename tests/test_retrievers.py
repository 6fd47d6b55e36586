"""Every retriever over one memory, which a real daemon has made with an image-text model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from longwatch.daemon.answer.answer import Answer
from longwatch.daemon.calibration.calibration import find_calibration
from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.model.image_text import ImageText
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.daemon.protocol import AnswerEnd, Ask, Reply
from longwatch.daemon.stream.maker import StreamMaker, make_tiers
from longwatch.daemon.stream.stream import Stream
from longwatch.memory.settings import MemoryConfig
from longwatch.memory.store import Store
from longwatch.retrieval.settings import RetrievalConfig

from .daemon_process import DaemonProcess
from .tiny_image_text import write_clip

pytestmark = pytest.mark.slow

URL = "scene://?seed=2&minutes=4&start=2026-03-02T14:00:00&busy=0.8"
QUESTIONS = ("did a red car appear?", "was the door open at 14:01:10?", "how many things are there now?")
NAMES = ("recent", "uniform", "rekv", "rekv-shared", "external", "heads", "hybrid")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[AnswerEnd]]:
    """A folder with `store` and `clip` in it, what the daemon called its retriever, and what it answered by it."""
    folder = tmp_path_factory.mktemp("watched")
    clip = json.dumps(str(write_clip(folder / "clip")))
    tables = f'[streams.yard]\nurl = "{URL}"\npace = "fast"\n[retrieval]\nretriever = "hybrid"\nembedding = {clip}\n'
    with DaemonProcess(folder, tables) as daemon:
        called = daemon.wait(lambda s: s.streams[0].state == "ended" and not s.queued_blocks).retriever
        return folder, called, [daemon.client.ask(question) for question in QUESTIONS]


@contextmanager
def remembering(folder: Path, name: str, clip: Path | None) -> Iterator[tuple[Stream, list[AnswerEnd]]]:
    """The stream brought back from the store under a retriever, and its answers."""
    lm = VideoLM.load(ModelConfig(device="cpu", threads=1))
    memory = MemoryConfig(folder=str(folder / "store"), ram_bytes=1 << 28, map_bytes=1 << 30)
    store = Store(memory)
    tiers = make_tiers(lm, store, memory)
    embedding = None if clip is None else ImageText(str(clip), lm.device, lm.dtype)
    calibration = find_calibration("embedded", lm.fingerprint)
    assert calibration is not None
    assert calibration.retrieval_heads is not None
    config = RetrievalConfig(retriever=name)  # type: ignore[arg-type]
    maker = StreamMaker(lm, tiers, config, heads=calibration.retrieval_heads, embedding=embedding)
    stream = maker.make("yard", SourceConfig(url=URL, pace="fast"))
    ends = []
    try:
        for question in QUESTIONS:
            replies: list[Reply] = []
            request = Ask(request_id="1", question=question)
            answer = Answer(
                request, stream, model=lm, tiers=tiers, config=config, calibration=calibration, on_reply=replies.append
            )
            with torch.inference_mode():
                for _ in answer.steps:
                    pass
            assert isinstance(replies[-1], AnswerEnd)
            ends.append(replies[-1])
        yield stream, ends
    finally:
        store.close()


@pytest.mark.parametrize("name", NAMES)
def test_one_word_chooses_the_retriever(watched: tuple[Path, str, list[AnswerEnd]], name: str) -> None:
    folder = watched[0]
    with remembering(folder, name, folder / "clip") as (stream, answers):
        in_window = {block.block_id for block in stream.window.blocks}
    for answer in answers:
        assert answer.recalled == sorted(answer.recalled)
        assert not in_window & {*answer.recalled}
        assert answer.evidence
        assert all(evidence.picture for evidence in answer.evidence)
    if name == "rekv":
        # Each layer has recalled twelve, mostly not the same ones; what many recalled is the better evidence.
        assert len(answers[0].recalled) > 12
        scores = [evidence.use for evidence in answers[0].evidence]
        assert scores == sorted(scores, reverse=True)
        assert 0 < scores[-1] <= scores[0] <= 1
        assert {evidence.block_id for evidence in answers[0].evidence} <= {*answers[0].recalled}
    else:
        assert len(answers[0].recalled) == 12
    since_ns, until_ns = answers[1].since_ns, answers[1].until_ns
    assert since_ns is not None
    assert until_ns is not None
    of_then = [evidence for evidence in answers[1].evidence if evidence.origin == "recalled"]
    assert of_then
    assert all(evidence.start_ns <= until_ns and evidence.end_ns >= since_ns for evidence in of_then)


def test_what_the_daemon_embedded_as_it_watched_is_found_after_a_restart(
    watched: tuple[Path, str, list[AnswerEnd]],
) -> None:
    folder, called, before = watched
    assert called == "hybrid (heads and external)"
    with remembering(folder, "hybrid", folder / "clip") as (_, after):
        assert [(a.text, a.recalled) for a in after] == [(b.text, b.recalled) for b in before]


def test_an_image_text_model_that_never_saw_the_blocks_finds_none_of_them(
    watched: tuple[Path, str, list[AnswerEnd]],
) -> None:
    """Another model of the same shape over the same store; retrievers that need none do with the store as it is."""
    folder = watched[0]
    with remembering(folder, "external", write_clip(folder / "other", seed=5)) as (_, answers):
        assert [answers[i].recalled for i in (0, 2)] == [[], []]
    recalled = []
    for clip in (None, folder / "clip"):
        with remembering(folder, "heads", clip) as (_, answers):
            recalled.append([answer.recalled for answer in answers])
    assert recalled[0] == recalled[1]
