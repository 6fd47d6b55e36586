"""A stream's memory over a real store, and an inbox that a test fills by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from longwatch.daemon.capture.message import Message
from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.stream.inbox import Inbox
from longwatch.daemon.stream.signatures import Signatures
from longwatch.daemon.stream.stream_memory import StreamMemory
from longwatch.memory.block import Geometry
from longwatch.memory.settings import MemoryConfig
from longwatch.memory.store import Store
from longwatch.memory.tiers import Tiers
from longwatch.retrieval.retrievers.choice import make_retriever
from longwatch.retrieval.settings import RetrievalConfig
from longwatch.retrieval.signature import SignatureLayout

GEOMETRY = Geometry(layers=2, kv_heads=2, head_dim=8)  # of `make_block`


@contextmanager
def remembering(folder: Path) -> Iterator[StreamMemory]:
    """The memory of `yard`, restored from a store; on leaving, all of it is durable."""
    store = Store(MemoryConfig(folder=str(folder), codec="raw16", commit_seconds=0.05, map_bytes=1 << 28))
    try:
        tiers = Tiers(
            store,
            codec="raw16",
            ram_bytes=1 << 20,
            fingerprint="ab" * 32,
            device=torch.device("cpu"),
            dtype=torch.bfloat16,
        )
        layout, config = SignatureLayout(None), RetrievalConfig(retriever="recent")
        retriever = make_retriever(config, layout, GEOMETRY, lambda _: torch.empty(0))
        memory = StreamMemory("yard", tiers, retriever, Signatures("yard", tiers, layout, GEOMETRY))
        memory.restore()
        memory.find_last()
        yield memory
    finally:
        store.close()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[StreamMemory]:
    """An empty one."""
    with remembering(tmp_path) as memory:
        yield memory


Filled = Callable[..., Inbox]


@pytest.fixture
def filled() -> Filled:
    """Makes an inbox that no feeder fills, with some messages in it."""

    def make(*messages: Message, url: str = "rtsp://cam/", pace: str = "real") -> Inbox:
        config = SourceConfig(url=url, pace=pace)  # type: ignore[arg-type]
        inbox = Inbox("yard", config, watched=False, on_message=lambda: None, on_state=lambda *_: None)
        for message in messages:
            assert inbox._messages.put(message, 0)
        return inbox

    return make
