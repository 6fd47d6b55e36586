"""`StreamMaker`: what all streams share, and how a stream is put together from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor

from ...memory.settings import MemoryConfig
from ...memory.store import Store
from ...memory.tiers import Tiers
from ...retrieval.heads import RetrievalHeads
from ...retrieval.retrievers.choice import make_retriever
from ...retrieval.retrievers.retriever import ReadKeys, Retriever
from ...retrieval.settings import RetrievalConfig
from ...retrieval.signature import SignatureLayout
from ..capture.settings import SourceConfig
from ..model.image_text import ImageText
from ..model.video_lm import VideoLM
from .encoder import OnEvent
from .signatures import Signatures
from .stream import Stream
from .stream_memory import StreamMemory


def make_tiers(model: VideoLM, store: Store, config: MemoryConfig) -> Tiers:
    """The tiers that keep a model's blocks."""
    return Tiers(
        store,
        codec=config.codec,
        ram_bytes=config.ram_bytes,
        fingerprint=model.fingerprint,
        device=model.device,
        dtype=model.dtype,
        text_tokens=model.prompt.clock_tokens,
    )


class StreamMaker:
    """Makes every stream of one model and one store, so that all of them are made alike.

    Args:
        heads: the model's retrieval heads, or None if it has none.
        embedding: the image-text model, or None if none is configured.
        foreign_until: of each stream, the newest block whose signature was made for other retrieval heads.
        on_event, on_message: as `Stream` calls them.

    Attributes:
        layout: of the signatures of all streams' blocks.
    """

    def __init__(
        self,
        model: VideoLM,
        tiers: Tiers,
        config: RetrievalConfig,
        *,
        heads: RetrievalHeads | None,
        embedding: ImageText | None = None,
        foreign_until: Mapping[str, int] = MappingProxyType({}),
        on_event: OnEvent = lambda *_: None,
        on_message: Callable[[], None] = lambda: None,
    ) -> None:
        space = None if embedding is None else embedding.space
        self.layout = SignatureLayout(heads, embedding=space, text_tokens=model.prompt.clock_tokens)
        self._model, self._tiers, self._config = model, tiers, config
        self._embedding, self._foreign_until = embedding, foreign_until
        self._on_event, self._on_message = on_event, on_message

    def make(self, name: str, source: SourceConfig, watched: bool = True) -> Stream:
        """A stream that is not started yet, with all that its memory holds.

        Raises:
            As `Stream`.
        """
        return Stream(
            name,
            source,
            watched=watched,
            memory=self.make_memory(name),
            model=self._model,
            layout=self.layout,
            embedding=self._embedding,
            on_event=self._on_event,
            on_message=self._on_message,
        )

    def make_memory(self, name: str) -> StreamMemory:
        """A stream's memory, whose index is still empty."""
        signatures = Signatures(
            name, self._tiers, self.layout, self._model.geometry, foreign_until=self._foreign_until.get(name, 0)
        )
        return StreamMemory(name, self._tiers, self.make_retriever(name, self._config), signatures)

    def make_retriever(self, name: str, config: RetrievalConfig) -> Retriever:
        """A retriever for the blocks of one stream, whose index is still empty."""
        embed = None if self._embedding is None else self._embedding.embed_words
        return make_retriever(config, self.layout, self._model.geometry, self.keys_reader(name), embed)

    def keys_reader(self, name: str) -> ReadKeys:
        """A function that reads a block's keys of the retrieval heads from one stream's memory."""
        heads = () if self.layout.heads is None else self.layout.heads.kv_heads

        def read_keys(block_id: int) -> Tensor:
            return self._tiers.keys(name, block_id, heads)

        return read_keys
