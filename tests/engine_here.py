"""A real engine with the embedded model, in the process of the test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from longwatch.daemon.calibration.program import find_or_calibrate
from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.config import DaemonConfig
from longwatch.daemon.engine import Engine
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.memory.settings import MemoryConfig
from longwatch.memory.store import Store
from longwatch.memory.tiers import Tiers


@contextmanager
def running_engine(folder: Path, streams: Mapping[str, SourceConfig] | None = None) -> Iterator[Engine]:
    """Started; at the end it is stopped, all is durable, and the books balance."""
    config = DaemonConfig(
        model=ModelConfig(threads=1),
        memory=MemoryConfig(folder=str(folder / "store"), commit_seconds=0.05, keep_days=0, ram_bytes=1 << 22),
        streams=dict(streams or {}),
    )
    model, store = VideoLM.load(config.model), Store(config.memory)
    tiers = Tiers(
        store,
        codec=config.memory.codec,
        ram_bytes=config.memory.ram_bytes,
        fingerprint=model.fingerprint,
        device=model.device,
        dtype=model.dtype,
        text_tokens=model.prompt.clock_tokens,
    )
    engine = Engine(config, model, tiers, find_or_calibrate(config, model, store, lambda _: None), lambda *_: None)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()
        tiers.check_integrity()
        store.close()
