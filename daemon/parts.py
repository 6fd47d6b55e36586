"""`Parts`: the models and the memory that all streams and answers share, put together once at the start."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from ..memory.store import Store
from ..memory.tiers import Tiers
from ..retrieval.time.reference import prepare
from .calibration.calibration import Calibration, heads_of
from .calibration.program import find_or_calibrate
from .config import DaemonConfig
from .log import get_logger
from .model.image_text import ImageText
from .model.video_lm import VideoLM
from .stream.encoder import OnEvent
from .stream.maker import StreamMaker, make_tiers

_log = get_logger("parts")


class Parts(NamedTuple):
    """What streams and answers are made of.

    Attributes:
        calibration: what is known of the model's retrieval heads; None if nothing is.
        embedding: the image-text model; None if the configuration names none.
    """

    config: DaemonConfig
    model: VideoLM
    tiers: Tiers
    calibration: Calibration | None
    embedding: ImageText | None = None

    @classmethod
    def load(
        cls,
        config: DaemonConfig,
        store: Store,
        *,
        loading: Callable[[], AbstractContextManager[None]],
        on_progress: Callable[[float], None],
    ) -> Parts:
        """Loads the models, and looks for the retrieval heads if the model has no calibration yet.

        Args:
            loading: entered while a library loads or downloads a model, and cannot be interrupted.
            on_progress: called now and then during the calibration with the share that is done. What it raises ends
                this.

        Raises:
            ModelError: a model cannot be loaded or used.
            RetrievalError: the calibration cannot be read, or cannot be kept.
        """
        _log.info("loading the model", model=config.model.name)
        with loading():
            model = VideoLM.load(config.model)
        tiers = make_tiers(model, store, config.memory)
        prepare()
        calibration = find_or_calibrate(config, model, store, on_progress)
        name, embedding = config.retrieval.embedding, None
        if name:
            _log.info("loading the image-text model", model=name)
            with loading():
                embedding = ImageText(name, model.device, model.dtype)
        return cls(config, model, tiers, calibration, embedding)

    def stream_maker(self, on_event: OnEvent, on_work: Callable[[], None]) -> StreamMaker:
        """Makes streams of these parts, each with a retriever of its own.

        Args:
            on_event: takes what happens; called on the engine's and the feeders' threads.
            on_work: called, from any thread, when a stream has something to do.
        """
        return StreamMaker(
            self.model,
            self.tiers,
            self.config.retrieval,
            heads=heads_of(self.calibration),
            embedding=self.embedding,
            foreign_until={} if self.calibration is None else self.calibration.foreign,
            on_event=on_event,
            on_message=on_work,
        )

    @property
    def retriever(self) -> str:
        """The retriever in use, for people: if it is not the configured one, with the reason."""
        has_heads = self.calibration is not None and self.calibration.good
        name, internal = self.config.retrieval.retriever, "heads" if has_heads else "rekv-shared"
        if name == "hybrid" and (has_heads or self.embedding is not None):
            return f"hybrid ({internal} and {'rekv-shared' if self.embedding is None else 'external'})"
        if name not in ("heads", "hybrid") or has_heads:
            return name
        why = "the model has no calibration" if self.calibration is None else "no head of the model finds well enough"
        return f"rekv-shared ({why})"
