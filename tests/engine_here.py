"""A real engine with the embedded model, in the process of the test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.config import DaemonConfig
from longwatch.daemon.engine import Engine
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.parts import Parts
from longwatch.memory.settings import MemoryConfig
from longwatch.memory.store import Store


@contextmanager
def running_engine(folder: Path, streams: Mapping[str, SourceConfig] | None = None) -> Iterator[Engine]:
    """Started; at the end it is stopped, all is durable, and the books balance."""
    config = DaemonConfig(
        model=ModelConfig(threads=1),
        memory=MemoryConfig(folder=str(folder / "store"), commit_seconds=0.05, keep_days=0, ram_bytes=1 << 22),
        streams=dict(streams or {}),
    )
    store = Store(config.memory)
    parts = Parts.load(config, store, loading=nullcontext, on_progress=lambda _: None)
    engine = Engine(parts, lambda *_: None)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()
        parts.tiers.check_integrity()
        store.check_integrity()
        store.close()
