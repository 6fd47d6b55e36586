"""Which retriever a configuration means: `make_retriever`."""

from __future__ import annotations

import msgspec

from ...memory.block import Geometry
from ..index.index import SignatureIndex
from ..settings import RetrievalConfig
from ..signature import SignatureLayout
from .attention_mass import HeadsRetriever
from .external import ExternalRetriever
from .hybrid import HybridRetriever
from .recent import RecentRetriever
from .rekv import RekvRetriever
from .retriever import EmbedText, ReadKeys, Retriever, Setup
from .shared import SharedRetriever
from .uniform import UniformRetriever

_KINDS: dict[str, type[Retriever]] = {
    "heads": HeadsRetriever,
    "rekv": RekvRetriever,
    "rekv-shared": SharedRetriever,
    "external": ExternalRetriever,
    "recent": RecentRetriever,
    "uniform": UniformRetriever,
}


def make_retriever(
    config: RetrievalConfig,
    layout: SignatureLayout,
    geometry: Geometry,
    read_keys: ReadKeys,
    embed: EmbedText | None = None,
) -> Retriever:
    """The retriever that the configuration names, with one index of all the parts that it needs.

    Where the model has no calibration, `rekv-shared` stands in for `heads`.

    Args:
        read_keys: a block's keys of the retrieval heads, `[R, T, D]` float32.
        embed: a text's vector `[E]`; `external` needs it, and without it `hybrid` takes `rekv-shared` beside `heads`.
    """
    if config.retriever == "hybrid":  # a block that both rank low must not be missing from one of the rankings
        config = msgspec.structs.replace(config, recall_blocks=config.candidates)
    setup = Setup(config, layout, geometry, read_keys, embed)
    kinds = [_KINDS[name] for name in _resolve(config.retriever, setup)]
    index = SignatureIndex([part for kind in kinds for part in kind.parts(setup)])
    retrievers = [kind(index, setup) for kind in kinds]
    return retrievers[0] if len(retrievers) == 1 else HybridRetriever(index, setup, retrievers)


def _resolve(name: str, setup: Setup) -> list[str]:
    """The retrievers that a name of the configuration means: two for `hybrid`, unless both would be the same."""
    own = "rekv-shared" if setup.layout.heads is None else "heads"
    match name:
        case "heads":
            return [own]
        case "hybrid":
            other = "rekv-shared" if setup.embed is None else "external"
            return list(dict.fromkeys([own, other]))
        case _:
            return [name]
