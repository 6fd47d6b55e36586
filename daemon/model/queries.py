"""A question's queries: what each layer looks for, which blocks are ranked by.

Computed behind `sink | window`, or layer by layer behind blocks that the layers before have chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ...memory.window import Window
from ...retrieval.steps import Steps, finished
from .context import Context
from .layerwise_context import LayerwiseContext, QueryCapture, SingleLayer
from .video_lm import VideoLM


@torch.inference_mode()
def compute_queries(
    model: VideoLM, window: Window, questions: Sequence[Sequence[int]], last_layer: int | None = None
) -> Iterator[dict[int, Tensor]]:
    """Each question's queries by layer behind `sink | window`, `[Hq, T, D]` float32, before rotary.

    The window is laid out once. The queries are made as they are taken, before the window changes.

    Args:
        questions: as token ids.
        last_layer: runs no further than this layer (default: through all).
    """
    context, layers = _lay_out_window(model, window, last_layer)
    for ids in questions:
        yield finished(_run_question(model, context, ids, layers))


@torch.inference_mode()
def compute_queries_in_steps(
    model: VideoLM, window: Window, questions: Sequence[Sequence[int]], last_layer: int | None = None
) -> Steps[list[dict[int, Tensor]]]:
    """As `compute_queries`, all of them, a chunk of tokens a step. The window may change meanwhile."""
    context, layers = _lay_out_window(model, window, last_layer)
    computed = []
    for ids in questions:
        queries = yield from _run_question(model, context, ids, layers)
        computed.append(queries)
    return computed


@torch.inference_mode()
def choose_by_layer(
    model: VideoLM, question_ids: Sequence[int], lay_out: Callable[[int, Tensor], Context]
) -> Steps[LayerwiseContext]:
    """The context that a question chooses layer by layer, as it runs. The question can then be prefilled behind it.

    What a layer chooses depends on the whole question. So a question of several chunks goes through each layer twice,
    once for its queries, and once behind what they chose, for the next layer's inputs. A step is one chunk in one
    layer:

        layer 0   queries of chunk 0, 1, 2   →   blocks of layer 0   →   chunk 0, 1, 2 behind them
        layer 1   queries of chunk 0, 1, 2   →   blocks of layer 1   →   …

    Args:
        lay_out: as for `LayerwiseContext`, but the queries are float32.
    """
    context = LayerwiseContext(lambda layer, queries: lay_out(layer, queries.float()))
    chunks = model.embed_chunks(question_ids)
    for layer in range(model.geometry.layers):
        queries = []
        for chunk in chunks:
            capture = QueryCapture()
            model.text.run(chunk, capture, layer, layer + 1)
            queries.append(capture.query)
            if len(chunks) > 1:
                yield
        chosen = context.choose(layer, torch.cat(queries, 1))
        behind = chosen.tokens
        for i, chunk in enumerate(chunks):
            yield
            chosen.begin(chunk.shape[1])
            chunks[i] = model.text.run(chunk, SingleLayer(chosen), layer, layer + 1)
            chosen.finish()
        chosen.rewind(behind)
    return context


def _lay_out_window(model: VideoLM, window: Window, last_layer: int | None) -> tuple[Context, int]:
    """`sink | window` in the layers that a question runs through, and how many they are."""
    layers = model.geometry.layers if last_layer is None else last_layer + 1
    parts = [(window.sink[0], window.sink[1], None), *(part[1:] for part in window.parts())]
    return model.lay_out([(k[:layers], v[:layers]) for k, v, _ in parts], [p for *_, p in parts]), layers


def _run_question(model: VideoLM, context: Context, ids: Sequence[int], layers: int) -> Steps[dict[int, Tensor]]:
    """A question's queries by layer. It leaves no token in the context."""
    behind = context.tokens
    computed: list[dict[int, Tensor]] = []  # chunk after chunk
    for inputs in model.embed_chunks(ids):
        if computed:
            yield
        context.begin(inputs.shape[1])
        model.text.run(inputs, context, 0, layers)
        context.finish()
        computed.append({layer: query.float() for layer, query in context.queries.items()})
    context.rewind(behind)
    return {layer: torch.cat([chunk[layer] for chunk in computed], 1) for layer in range(layers)}
