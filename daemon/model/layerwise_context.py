"""`LayerwiseContext`: a context that each layer chooses for itself, and what lets a question run layer by layer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .context import Context


class LayerwiseContext:
    """A context of its own for each layer, laid out once that layer's queries are known.

        layer 0   sink | a d e | window | question     a, d, e are chosen by the queries of layer 0
        layer 1   sink | b d   | window | question     b, d by those of layer 1, which depend on what layer 0 saw

    Args:
        lay_out: makes a layer's context, a `Context` of that layer alone, from the whole question's queries
            `[Hq, T, D]`, unrotated.
    """

    def __init__(self, lay_out: Callable[[int, Tensor], Context]) -> None:
        self._lay_out = lay_out
        self._layers: list[Context] = []

    def choose(self, layer: int, queries: Tensor) -> Context:
        """Lays out the next layer's own context. The question is still to be run behind it."""
        assert layer == len(self._layers), f"layer {layer} cannot choose before layer {len(self._layers)} has"
        self._layers.append(self._lay_out(layer, queries))
        return self._layers[layer]

    def begin(self, tokens: int) -> None:
        """See `Context.begin`."""
        for context in self._layers:
            context.begin(tokens)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """See `Layout.attend`; B is 1."""
        return self._layers[layer].attend(0, query, key, value, scaling)

    def finish(self) -> None:
        """See `Context.finish`."""
        for context in self._layers:
            context.finish()


class SingleLayer:
    """A context of one layer as the layout of a forward through that layer alone, whatever its number."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """See `Layout.attend`; B is 1."""
        return self._context.attend(0, query, key, value, scaling)


class QueryCapture:
    """Keeps a layer's queries `[Hq, T, D]`, unrotated, and attends to nothing: what the layer returns is of no use."""

    query: Tensor

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """See `Layout.attend`; B is 1."""
        self.query = query[0]
        return torch.zeros_like(query)
