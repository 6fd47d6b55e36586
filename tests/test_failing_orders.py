"""An order that fails half-way changes nothing, and the next one is carried out."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from longwatch.daemon.engine import Engine
from longwatch.daemon.errors import ConfigError
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.daemon.protocol import Done, ErrorReply, Forget, Forgotten, Reply, StreamsAdd, StreamsRemove
from longwatch.memory.errors import StorageError
from longwatch.memory.tiers import Tiers

from .engine_here import running_engine

YARD = {"url": "scene://?seed=3&minutes=0.2&start=2026-03-02T14:00:00", "pace": "fast", "gate_levels": 0.0}
CAMERA = {"url": "scene://?seed=3", "pace": "real", "fps": 5.0, "gate_levels": 0.0}
_numbers = itertools.count()


def reply(order: Callable[[Any, Callable[[Reply], None]], None], request: Any) -> Reply:
    """The one reply to an order."""
    came, replies = threading.Event(), list[Reply]()

    def emit(one: Reply) -> None:
        replies.append(one)
        came.set()

    order(request, emit)
    assert came.wait(20), "no reply"
    time.sleep(0.1)
    assert len(replies) == 1
    return replies[0]


def add(engine: Engine, **source: Any) -> Reply:
    return reply(engine.add_stream, StreamsAdd(request_id=str(next(_numbers)), name="cam", source=source))


def remove(engine: Engine) -> Reply:
    return reply(engine.remove_stream, StreamsRemove(request_id=str(next(_numbers)), name="cam"))


def blocks(engine: Engine) -> int:
    return sum(stream.blocks for stream in engine.status("s").streams)


def seen_whole(engine: Engine) -> bool:
    return all(stream.state == "ended" for stream in engine.status("s").streams)


def wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not until():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_slip_in_a_key_leaves_the_memory_of_a_removed_stream_as_it_was(tmp_path: Path) -> None:
    with running_engine(tmp_path) as engine:
        assert isinstance(add(engine, **YARD, time_zone="Europe/Berlin"), Done)
        wait(lambda: seen_whole(engine))
        assert isinstance(remove(engine), Done)
        with pytest.raises(ConfigError, match="Berlim"):
            add(engine, **YARD, time_zone="Europe/Berlim")
    with running_engine(tmp_path) as engine:
        (stream,) = engine.status("s").streams
        assert (stream.state, stream.time_zone) == ("not watched", "Europe/Berlin")
        assert stream.blocks > 5


def test_a_device_without_room_for_a_stream_is_no_end_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_engine(tmp_path) as engine:
        add(engine, **YARD)
        wait(lambda: seen_whole(engine))
        remove(engine)
        with monkeypatch.context() as full:

            def no_room(self: VideoLM, window_tokens: int | None = None) -> None:
                raise torch.OutOfMemoryError("CUDA out of memory")

            full.setattr(VideoLM, "new_window", no_room)
            assert isinstance(add(engine, **YARD), ErrorReply)
        assert engine.status("s").streams[0].state == "not watched"
        assert isinstance(add(engine, **YARD), Done)
        assert isinstance(remove(engine), Done)


def test_a_stream_is_stopped_though_its_newest_block_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_engine(tmp_path) as engine:
        add(engine, **CAMERA)
        wait(lambda: blocks(engine) > 3)
        with monkeypatch.context() as broken:

            def no_disk(self: Tiers, stream: str, block_ids: object) -> None:
                raise StorageError(f"{stream}: Input/output error")

            broken.setattr(Tiers, "fetch", no_disk)
            assert isinstance(remove(engine), Done)
        frames = engine.status("s").streams[0].frames
        time.sleep(1)
        assert engine.status("s").streams[0].frames == frames
        assert isinstance(add(engine, **CAMERA), Done)


def test_what_is_forgotten_is_erased_though_no_thread_can_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_engine(tmp_path) as engine:
        add(engine, **YARD)
        wait(lambda: seen_whole(engine))
        there = blocks(engine)
        start = threading.Thread.start

        def none_left(self: threading.Thread) -> None:
            if self.name == "order":
                raise RuntimeError("can't start new thread")
            start(self)

        monkeypatch.setattr(threading.Thread, "start", none_left)
        assert reply(engine.forget, Forget(request_id="f", stream="cam")) == Forgotten(request_id="f", blocks=there)
        assert blocks(engine) == 0
