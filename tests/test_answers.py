"""Answers under way in one engine: none keeps the others waiting, and one that fails fails alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from longwatch.daemon.answer import background, question_time
from longwatch.daemon.calibration.calibration import find_calibration
from longwatch.daemon.config import DaemonConfig
from longwatch.daemon.engine import Engine
from longwatch.daemon.model import video_lm
from longwatch.daemon.model.prompt import BLANK
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.daemon.parts import Parts
from longwatch.daemon.protocol import AnswerEnd, Ask, Delta, ErrorReply, Reply
from longwatch.memory.store import Store
from longwatch.memory.tiers import Tiers
from longwatch.retrieval import steps

URL = "scene://?seed=2&minutes=4&start=2026-03-02T14:00:00&busy=0.8"
LONG = "did a red car appear? " * 80
SHORT = "is the door open now?"
CHUNK = 32


class Replies:
    """What clients got, in order, by the question's name."""

    def __init__(self) -> None:
        self.all: list[tuple[str, Reply]] = []
        self._lock = threading.Lock()

    def emit(self, name: str) -> Callable[[Reply], None]:
        def emit(reply: Reply) -> None:
            with self._lock:
                self.all.append((name, reply))

        return emit

    def wait(self, name: str) -> AnswerEnd | ErrorReply:
        """The last reply to a question."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            for of, reply in list(self.all):
                if of == name and isinstance(reply, AnswerEnd | ErrorReply):
                    return reply
            time.sleep(0.01)
        raise AssertionError(f"no end to {name}: {self.all}")

    def order(self) -> list[str]:
        """The questions in the order in which they ended."""
        return [name for name, reply in self.all if isinstance(reply, AnswerEnd | ErrorReply)]


class Room:
    """An engine whose one stream has been watched to its end."""

    def __init__(self, engine: Engine, model: VideoLM) -> None:
        self.engine, self.model, self.replies = engine, model, Replies()

    def ask(self, name: str, question: str, emit: Callable[[Reply], None] | None = None, **more: Any) -> None:
        request = Ask(request_id=name, question=question, max_tokens=8, **more)
        self.engine.ask(request, (b"client", name), emit or self.replies.emit(name))


@contextmanager
def watched(folder: Path, retriever: str = "heads") -> Iterator[Room]:
    model = VideoLM.load(ModelConfig(device="cpu", dtype="float32", threads=1, chunk_tokens=CHUNK))
    config = msgspec.convert(
        {
            "memory": {"folder": str(folder / "store"), "map_bytes": 1 << 30, "keep_days": 0},
            "retrieval": {"retriever": retriever, "candidates": 16, "span_blocks": 8},
            "streams": {"yard": {"url": URL, "pace": "fast"}},
        },
        DaemonConfig,
    )
    store = Store(config.memory)
    tiers = Tiers(
        store, codec="int4", ram_bytes=1 << 28, fingerprint=model.fingerprint, device=model.device, dtype=model.dtype
    )
    engine = Engine(Parts(config, model, tiers, find_calibration("embedded", model.fingerprint)), lambda *_: None)
    engine.start()
    try:
        while engine.status("1").streams[0].state != "ended":
            time.sleep(0.05)
        yield Room(engine, model)
    finally:
        engine.stop()
        store.close()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with watched(tmp_path) as room:
        yield room


@pytest.mark.parametrize("retriever", ["heads", "hybrid", "rekv", "rekv-shared"])
def test_no_step_runs_more_of_a_question_through_the_model_than_a_chunk(tmp_path: Path, retriever: str) -> None:
    """Whatever ranks, and where the notes of a time's parts are longer than a chunk too."""
    with watched(tmp_path, retriever) as room:
        of_steps: list[int] = []

        def count(_module: Any, _: Any, inputs: dict[str, Any]) -> None:
            of_steps[-1] += inputs["inputs_embeds"].shape[1]

        room.model.text.module.register_forward_pre_hook(count, with_kwargs=True)
        take_turn = room.engine._answers.step

        def counted() -> bool:
            of_steps.append(0)
            return take_turn()

        room.engine._answers.step = counted  # type: ignore[method-assign]
        most = CHUNK + len(room.model.prompt.question_ids(BLANK))
        for name, question in (("long", LONG), ("short", SHORT), ("all", "what happened between 14:00 and 14:03?")):
            room.ask(name, question)
            assert isinstance(room.replies.wait(name), AnswerEnd)
        assert max(of_steps) <= most
        assert sum(of_steps) > len(room.model.prompt.question_ids(LONG))


def test_a_question_is_answered_alike_whatever_the_steps(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """In chunks and steps of any size: the same blocks, the same words."""
    question = "what did a red car do before the dog came? " * 3
    room.ask("in steps", question)
    first = room.replies.wait("in steps")
    monkeypatch.setattr(steps, "STEP_SECONDS", 0.0)  # a step for each block that is read
    room.ask("in the shortest", question)
    room.replies.wait("in the shortest")
    room.model.config = msgspec.structs.replace(room.model.config, chunk_tokens=512)
    room.ask("at once", question)
    others = [room.replies.wait("in the shortest"), room.replies.wait("at once")]
    assert isinstance(first, AnswerEnd)
    for other in others:
        assert isinstance(other, AnswerEnd)
        assert (other.text, other.recalled, other.since_ns) == (first.text, first.recalled, first.since_ns)


def test_a_short_question_that_comes_later_is_answered_before_a_long_one(room: Room) -> None:
    room.ask("long", LONG)
    room.ask("short", SHORT)
    room.replies.wait("long")
    assert room.replies.order() == ["short", "long"]


def test_a_long_question_that_is_cancelled_is_read_no_further(room: Room) -> None:
    room.ask("long", LONG)
    room.engine.cancel((b"client", "long"))
    end = room.replies.wait("long")
    assert isinstance(end, AnswerEnd)
    assert (end.stopped, end.text, end.tokens) == ("cancelled", "", 0)
    assert len(room.engine._answers) == 0


def test_an_answer_that_fails_fails_alone(room: Room) -> None:
    def refuse(reply: Reply) -> None:
        if isinstance(reply, Delta):
            raise ZeroDivisionError("a mistake of ours")
        room.replies.emit("broken")(reply)

    room.ask("broken", SHORT, refuse)
    for i in range(3):
        room.ask(str(i), SHORT)
    error = room.replies.wait("broken")
    assert isinstance(error, ErrorReply)
    assert error.code == "internal"
    assert all(isinstance(room.replies.wait(str(i)), AnswerEnd) for i in range(3))
    assert room.engine.alive
    assert len(room.engine._answers) == 0


def test_where_the_device_has_no_room_the_answer_says_so_and_others_go_on(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as greedy:
        greedy.setattr(video_lm, "_ROOM_TOKENS", 1 << 44)  # more than any machine has
        room.ask("too large", SHORT)
        error = room.replies.wait("too large")
    assert isinstance(error, ErrorReply)
    assert error.code == "device_memory"
    assert "no room on the device for the answer" in error.message
    assert "retrieval.recall_tokens" in error.message
    room.ask("next", SHORT)
    assert isinstance(room.replies.wait("next"), AnswerEnd)


def test_a_time_that_takes_long_to_read_holds_up_nobody_and_is_given_up(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(question_time, "_READING_SECONDS", 1.0)
    let_go = threading.Event()
    for _ in range(background.THREADS):  # all readers are taken
        background.threads().submit(let_go.wait)
    try:
        room.ask("in words", "what was there at 14:01?")
        room.ask("in numbers", "what was there?", since_ns=1_772_460_000_000_000_000)
        error = room.replies.wait("in words")
    finally:
        let_go.set()
    assert isinstance(room.replies.wait("in numbers"), AnswerEnd)
    assert room.replies.order() == ["in numbers", "in words"]
    assert isinstance(error, ErrorReply)
    assert (error.code, "was not read within 1 s" in error.message) == ("question", True)
    room.ask("again", "what was there at 14:01?")
    assert isinstance(room.replies.wait("again"), AnswerEnd)


def test_who_hears_the_end_of_an_answer_can_ask_again_under_the_same_id(room: Room) -> None:
    ends = []

    def ask_again(reply: Reply) -> None:
        if isinstance(reply, AnswerEnd):
            ends.append(reply)
            if len(ends) == 1:
                room.ask("again", SHORT, room.replies.emit("again"))

    room.ask("again", SHORT, ask_again)
    assert isinstance(room.replies.wait("again"), AnswerEnd)
