"""Which retriever a configuration means: `make_retriever`."""

from __future__ import annotations

import msgspec

from ...memory.block import Geometry
from ..settings import RetrievalConfig
from ..signature import SignatureLayout
from .external import ExternalRetriever
from .heads import HeadsRetriever
from .hybrid import HybridRetriever
from .recent import RecentRetriever
from .rekv import RekvRetriever
from .retriever import EmbedText, ReadKeys, Retriever
from .shared import SharedRetriever
from .uniform import UniformRetriever


def make_retriever(
    config: RetrievalConfig,
    layout: SignatureLayout,
    geometry: Geometry,
    read_keys: ReadKeys,
    embed: EmbedText | None = None,
) -> Retriever:
    """The retriever that the configuration names. Where the model has no calibration, `rekv-shared` is for `heads`.

    Args:
        read_keys: a block's keys of the retrieval heads, `[R, T, D]` float32.
        embed: a text's vector `[E]`; `external` needs it, and without it `hybrid` takes `rekv-shared` beside `heads`.
    """

    deep = config if config.retriever != "hybrid" else msgspec.structs.replace(config, recall_blocks=config.candidates)
    shared = SharedRetriever(deep, layout, geometry)
    external = None if embed is None else ExternalRetriever(deep, layout, geometry, embed)
    heads = None if layout.heads is None else HeadsRetriever(config, layout, geometry.head_dim, read_keys)
    match config.retriever:
        case "recent":
            return RecentRetriever(config)
        case "uniform":
            return UniformRetriever(config)
        case "rekv":
            return RekvRetriever(config, layout, geometry)
        case "rekv-shared":
            return shared
        case "external":
            assert external is not None, "retriever external needs an image-text model"
            return external
        case "heads":
            return heads or shared
        case "hybrid":
            if heads is None and external is None:
                return shared
            return HybridRetriever(heads or shared, external or shared)
