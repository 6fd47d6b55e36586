"""Position-free attention: how a text model attends to keys that carry no position.

The text model runs with every position 0, which makes its own rotary embedding the identity, so that the keys it
computes carry no position. The function registered here hands each layer's queries, keys and values to the forward's
`Layout`, which knows what is seen and at which positions, and rotates there. Both registries are transformers' public
ones; the layout travels in the attention's keyword arguments, so two models never share state.

    FrameLayout   n frames at once, each before its own window; collects their keys and values
    Context       a question or answer behind a laid-out context; rotated once, grows as tokens come
    LayerwiseContext   the same with a context of its own for each layer, which its queries choose
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from ...memory.block import Places
from ..errors import ModelError

NAME = "longwatch"


class Layout(Protocol):
    """What a forward sees. One layout serves one forward of one model."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Attention of a layer, heads first: query `[B, Hq, T, D]`, key and value `[B, H, T, D]`, all unrotated.

        Returns:
            `[B, Hq, T, D]`.
        """


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    layout: Layout,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    out = layout.attend(int(module.layer_idx), query, key, value, scaling)  # type: ignore[arg-type]
    return out.transpose(1, 2), None


def _no_mask(*_: Any, **__: Any) -> None:
    return None


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _no_mask)


class GrowingLayout(Layout, Protocol):
    """A layout that keeps what is prefilled and decoded behind it."""

    def begin(self, tokens: int) -> None:
        """Prepares a forward of so many new tokens."""

    def finish(self) -> None:
        """Makes the forward's tokens part of the context."""


class Rotation:
    """A text model's own rotary embedding, applied at positions of our choice.

    Raises:
        ModelError: its frequencies change with the length seen, so that no rotated key could be kept.
    """

    def __init__(self, text: Any) -> None:
        self._embedding = text.rotary_emb
        kind = str(getattr(self._embedding, "rope_type", "default"))
        if "dynamic" in kind or kind == "longrope":
            raise ModelError(f"model.name: rotary scaling {kind} is not supported; default, linear, yarn, llama3 are")
        self._apply = sys.modules[type(text).__module__].apply_rotary_pos_emb
        # At position 0 the model's own pass has multiplied by this already (YaRN): it must not happen twice.
        self._scaling = float(getattr(self._embedding, "attention_scaling", 1.0))

    def angles(self, positions: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines for `[B, T]` positions, in the dtype of `like`: two of `[B, T, D]`."""
        cos, sin = self._embedding(like, positions)
        return (cos, sin) if self._scaling == 1.0 else (cos / self._scaling, sin / self._scaling)

    def turn(self, x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
        """`[B, H, T, D]` at the angles' positions."""
        turned: Tensor = self._apply(x, x[:, :0], *angles)[0]
        return turned


class Standing(NamedTuple):
    """How a block stands in a context: its tokens, and how many positions it takes with those that were left out."""

    tokens: int
    places: Places | None = None

    @property
    def extent(self) -> int:
        """Positions from its first to the next block's first."""
        return self.tokens if self.places is None else self.places.of

    def positions(self) -> Tensor:
        """Each token's, `[T]`, from 0 on."""
        return torch.arange(self.tokens) if self.places is None else torch.tensor(self.places.kept)


class FrameLayout:
    """n frames as n rows, each seeing `sink | the newest whole blocks before it | itself`, at positions from 0 on.

    Earlier rows of the same forward are blocks for the later ones, so that any chunk size gives the same keys.

        row 0   sink | w0 w1 w2 | f0
        row 1   sink |    w1 w2 f0 | f1

    Args:
        keys, values: the window's `[L, H, S + W, D]`, keys before rotary.
        sink_tokens: S.
        blocks: how each block in the window stands, oldest first; together W tokens.
        frames, frame: n, and how each of them stands, with T tokens.
        window_tokens: what the blocks before a frame may hold together.
    """

    def __init__(
        self,
        rotation: Rotation,
        keys: Tensor,
        values: Tensor,
        *,
        sink_tokens: int,
        blocks: Sequence[Standing],
        frames: int,
        frame: Standing,
        window_tokens: int,
    ) -> None:
        self._rotation, self._context = rotation, (keys, values)
        plan = _frame_plan(sink_tokens, blocks, frames, frame, window_tokens)
        self._gather, positions, self._mask = (x.to(keys.device) for x in plan)
        self._key_angles = rotation.angles(positions, keys)
        self._query_angles = (self._key_angles[0][:, -frame.tokens :], self._key_angles[1][:, -frame.tokens :])
        self.keys: list[Tensor] = []  # a layer's [n, H, T, D], before rotary
        self.values: list[Tensor] = []

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """See `Layout.attend`; keeps the layer's keys and values."""
        self.keys.append(key)
        self.values.append(value)
        seen_keys = self._seen(self._context[0][layer], key)
        seen_values = self._seen(self._context[1][layer], value)
        return scaled_dot_product_attention(
            self._rotation.turn(query, self._query_angles),
            self._rotation.turn(seen_keys, self._key_angles),
            seen_values,
            attn_mask=self._mask,
            scale=scaling,
            enable_gqa=True,
        )

    def _seen(self, context: Tensor, new: Tensor) -> Tensor:
        """`[n, H, K, D]`: for each row, what it sees of the context `[H, C, D]` and of all rows' new tokens."""
        everything = torch.cat([context, new.transpose(0, 1).flatten(1, 2)], 1)
        return everything[:, self._gather].transpose(0, 1)


def _frame_plan(
    sink_tokens: int, blocks: Sequence[Standing], frames: int, frame: Standing, window_tokens: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Which tokens of `context + chunk` each row sees `[n, K]`, their positions `[n, K]`, and the mask `[n, 1, T, K]`.

    Rows are flush right: their own tokens are the last T, and shorter rows are padded (masked) on the left.
    """
    standing = [*blocks, *[frame] * frames]
    sizes = [block.tokens for block in standing]
    starts = torch.tensor([0, *sizes]).cumsum(0) + sink_tokens
    begins = torch.tensor([0, *(block.extent for block in standing)]).cumsum(0)
    positions = torch.cat([begin + block.positions() for begin, block in zip(begins, standing, strict=False)])
    positions = torch.cat([torch.arange(sink_tokens), positions + sink_tokens])
    rows, places = [], []
    for row in range(frames):
        own = len(blocks) + row
        first, room = own, window_tokens
        while first > 0 and (sizes[first - 1] <= room or first == own):
            first -= 1
            room -= sizes[first]
        seen = torch.arange(int(starts[first]), int(starts[own + 1]))
        rows.append(torch.cat([torch.arange(sink_tokens), seen]))
        places.append(torch.cat([torch.arange(sink_tokens), positions[seen] - begins[first]]))
    longest = max(len(row) for row in rows)
    gather, stand = (
        torch.stack([torch.cat([x.new_zeros(longest - len(x)), x]) for x in padded]) for padded in (rows, places)
    )
    lengths = torch.tensor([len(row) for row in rows])
    order = torch.arange(longest)
    real = order[None] >= longest - lengths[:, None]
    causal = order[None] <= torch.arange(longest - frame.tokens, longest)[:, None]
    return gather, stand, (real[:, None] & causal[None])[:, None]


class Context:
    """A laid-out context: rotated once, and extended by what is prefilled and decoded.

    Args:
        keys, values: `[L, H, C, D]`, keys before rotary.
        positions: `[C]`, rising; what is added comes right behind the last.
        room: tokens that may be added before the buffers grow.
    """

    def __init__(self, rotation: Rotation, keys: Tensor, values: Tensor, positions: Tensor, room: int) -> None:
        layers, heads, tokens, dim = keys.shape
        self._rotation, self.tokens = rotation, tokens
        self._keys, self._values = (x.new_empty(layers, heads, tokens + room, dim) for x in (keys, values))
        self._left_out = int(positions[-1]) + 1 - tokens if tokens else 0  # positions that nothing stands at
        angles = rotation.angles(positions[None], keys)
        for layer in range(layers):  # one at a time: turning takes twice as much memory again
            self._keys[layer, :, :tokens] = rotation.turn(keys[layer : layer + 1], angles)[0]
        self._values[:, :, :tokens] = values
        self._angles: tuple[Tensor, Tensor] | None = None
        self._mask: Tensor | None = None
        self._pending = 0
        self.queries: dict[int, Tensor] = {}  # a layer's last queries [Hq, T, D], unrotated
        self._watched: Mapping[int, Sequence[int]] = {}
        self._attended = keys.new_zeros(tokens, dtype=torch.float32)

    def watch(self, heads: Mapping[int, Sequence[int]]) -> None:
        """From here on adds up what these query heads, by layer, attend to; see `attended`."""
        self._watched = heads

    def attended(self, tokens: int) -> Tensor:
        """The attention that each of the first so many tokens got, `[tokens]` float32.

        Of the last token of the question and of each token of the answer that went in since: these decide what is said.
        """
        return self._attended[:tokens]

    def begin(self, tokens: int) -> None:
        """Prepares a forward of so many new tokens: their angles, mask and room."""
        positions = torch.arange(self.tokens, self.tokens + tokens, device=self._keys.device)
        self._angles = self._rotation.angles(positions[None] + self._left_out, self._keys)
        seen = torch.arange(self.tokens + tokens, device=self._keys.device)
        self._mask = None if tokens == 1 else seen[None] <= positions[:, None]
        self._pending = tokens
        if tokens > 1:  # a question's next piece: only its last token, which comes before the answer, counts
            self._attended.zero_()
        if self.tokens + tokens > self._keys.shape[2]:
            more = max(tokens, self._keys.shape[2])
            self._keys, self._values = (
                torch.cat([x, x.new_empty(*x.shape[:2], more, x.shape[3])], 2) for x in (self._keys, self._values)
            )

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """See `Layout.attend`; B is 1."""
        assert self._angles is not None, "begin() must come first"
        assert key.shape[2] == self._pending, f"{key.shape[2]} tokens came where {self._pending} were announced"
        self.queries[layer] = query[0]
        end = self.tokens + self._pending
        self._keys[layer, :, self.tokens : end] = self._rotation.turn(key, self._angles)[0]
        self._values[layer, :, self.tokens : end] = value[0]
        seen_keys, seen_values = self._keys[layer, None, :, :end], self._values[layer, None, :, :end]
        turned = self._rotation.turn(query, self._angles)
        if layer in self._watched:
            self._note(turned[0, :, -1], seen_keys[0], self._watched[layer], scaling)
        if self._mask is None:
            # One token: the query heads of a KV head stand as its rows. A sixth off a bfloat16 step on a CPU.
            grouped = turned.reshape(1, key.shape[1], -1, key.shape[3])
            return scaled_dot_product_attention(grouped, seen_keys, seen_values, scale=scaling).reshape(query.shape)
        return scaled_dot_product_attention(
            turned, seen_keys, seen_values, attn_mask=self._mask, scale=scaling, enable_gqa=True
        )

    def _note(self, query: Tensor, keys: Tensor, heads: Sequence[int], scaling: float) -> None:
        """Adds a token's attention: query `[Hq, D]`, keys `[H, C, D]`, both rotated."""
        group = query.shape[0] // keys.shape[0]
        of_heads = keys[[head // group for head in heads]].float()
        paid = (of_heads @ query[list(heads), :, None].float() * scaling).softmax(1).sum((0, 2))
        self._attended += paid[: len(self._attended)]

    def finish(self) -> None:
        """Makes the forward's tokens part of the context."""
        self.tokens += self._pending
        self._pending = 0

    def rewind(self, tokens: int) -> None:
        """Forgets all behind the first so many tokens, so that another question can stand there."""
        assert tokens <= self.tokens, f"cannot rewind to {tokens} of {self.tokens} tokens"
        self.tokens = tokens


class LayerwiseContext:
    """A context that each layer chooses for itself, once it has seen the question's queries.

        layer 0   sink | a d e | window | question       chosen by layer 0's queries, to which layer 1's owe
        layer 1   sink | b d   | window | question       what they attended to there

    Args:
        lay_out: a layer's own context, a `Context` of that layer alone, from the whole question's queries
            `[Hq, T, D]`, unrotated.
    """

    def __init__(self, lay_out: Callable[[int, Tensor], Context]) -> None:
        self._lay_out = lay_out
        self._layers: list[Context] = []

    def choose(self, layer: int, queries: Tensor) -> Context:
        """Lays out the next layer's own context, behind which the question is still to run."""
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


class OneLayer:
    """A context of one layer alone as the layout of a forward through that layer, whatever its number."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """See `Layout.attend`; B is 1."""
        return self._context.attend(0, query, key, value, scaling)


class QueriesOnly:
    """Takes a layer's queries `[Hq, T, D]`, unrotated, and attends to nothing: what comes out of the layer is void."""

    query: Tensor

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """See `Layout.attend`; B is 1."""
        self.query = query[0]
        return torch.zeros_like(query)
