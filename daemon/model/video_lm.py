"""`VideoLM`: frames in, keys and values out; a question and a laid-out context in, tokens out."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, tzinfo
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...memory.block import Geometry, Places
from ...memory.window import Window
from ...retrieval.steps import Steps, finished
from ..errors import ModelError
from .attention import (
    NAME,
    Context,
    FrameLayout,
    GrowingLayout,
    LayerwiseContext,
    Layout,
    OneLayer,
    QueriesOnly,
    Rotation,
    Standing,
)
from .decoding import Detokenizer
from .family import EMBEDDED, Family, LlavaOnevision
from .settings import ModelConfig
from .token_gate import TokenGate

_ROOM_TOKENS = 320


class VideoLM:
    """One loaded model. Belongs to one thread.

    Attributes:
        geometry: layers, KV heads and head dim of its blocks.
        query_heads: query heads of a layer.
        fingerprint: hex digest of weights and configuration.
        forward_seconds: time spent inside the model's own forwards so far.
    """

    def __init__(self, family: Family, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> None:
        self.config, self.device, self.dtype = config, device, dtype
        self._family = family
        self._text = family.text
        self._text.set_attn_implementation(NAME)
        self._rotation = Rotation(self._text)
        text: Any = self._text.config
        head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        self.geometry = Geometry(text.num_hidden_layers, text.num_key_value_heads, head_dim)
        self.query_heads = int(text.num_attention_heads)
        self.fingerprint = family.fingerprint
        self.prompt, self.stop_ids = family.prompt, family.stop_ids
        self.description = f"{config.name} ({family.description})"
        self.forward_seconds = 0.0
        self._sink: tuple[Tensor, Tensor] | None = None

    @classmethod
    def load(cls, config: ModelConfig) -> VideoLM:
        """Loads a checkpoint.

        Raises:
            ModelError: it is missing, unreadable or of another family, or the device is not there.
        """
        device, dtype = _choose(config.device, config.dtype)
        if config.threads:
            torch.set_num_threads(config.threads)
        name = str(EMBEDDED) if config.name == "embedded" else config.name
        return cls(LlavaOnevision(name, device, dtype), config, device, dtype)

    def new_window(self, window_tokens: int | None = None) -> Window:
        """An empty window behind the sink, whose keys and values are computed once.

        Args:
            window_tokens: what it may hold; as configured where it is None.
        """
        if self._sink is None:
            nothing = torch.empty(
                self.geometry.layers, self.geometry.kv_heads, 0, self.geometry.head_dim, device=self.device
            ).to(self.dtype)
            ids = self.prompt.sink_ids
            layout = FrameLayout(
                self._rotation,
                nothing,
                nothing,
                sink_tokens=0,
                blocks=[],
                frames=1,
                frame=Standing(len(ids)),
                window_tokens=0,
            )
            self._run(self._embed(ids)[None], layout)
            self._sink = (torch.cat(layout.keys), torch.cat(layout.values))
        return Window(*self._sink, self.config.window_tokens if window_tokens is None else window_tokens)

    def token_gate(self, cosine: float, whole_seconds: float) -> TokenGate | None:
        """A stream's own gate for its visual tokens; None at a cosine of 1, which keeps all."""
        if cosine >= 1:
            return None
        return TokenGate(
            cosine,
            whole_ns=int(whole_seconds * 1e9),
            window_tokens=self.config.window_tokens,
            text_tokens=self.prompt.clock_tokens,
        )

    @torch.inference_mode()
    def frame_inputs(self, frames: Sequence[NDArray[np.uint8]], times_ns: Sequence[int], zone: tzinfo = UTC) -> Tensor:
        """Clock, as it is in a time zone, and visual tokens of BGR frames: `[n, T, hidden]`.

        Raises:
            ModelError: the model has no eyes.
        """
        if self._family.preprocessor is None:
            raise ModelError(f"model.name: {self.config.name} reads words only; name a model that sees")
        pixels = self._family.preprocessor(frames).to(self.device, self.dtype)
        with self._timed():
            seen = self._family.see(pixels)
        clocks = self._embed([self.prompt.clock_ids(time_ns, zone) for time_ns in times_ns])
        return torch.cat([clocks, seen], 1)

    @torch.inference_mode()
    def gap_inputs(self, start_ns: int, end_ns: int, zone: tzinfo = UTC) -> Tensor:
        """The line of text that stands for a time with no video: `[1, T, hidden]`."""
        return self._embed(self.prompt.gap_ids(start_ns, end_ns, zone))[None]

    @torch.inference_mode()
    def text_inputs(self, ids: Sequence[int]) -> Tensor:
        """A block of words: `[1, T, hidden]`."""
        return self._embed(ids)[None]

    @torch.inference_mode()
    def prefill_blocks(self, inputs: Tensor, window: Window, places: Places | None = None) -> tuple[Tensor, Tensor]:
        """Keys (before rotary) and values `[n, L, H, T, D]` of n inputs `[n, T, hidden]` behind a window.

        Each sees the sink, the newest whole blocks before it within the window's tokens, and itself. Does not
        change the window.

        Args:
            places: where the tokens of each input stand, if some were left out.
        """
        frames, tokens, _ = inputs.shape
        layout = FrameLayout(
            self._rotation,
            window.keys,
            window.values,
            sink_tokens=window.sink_tokens,
            blocks=[Standing(block.tokens, block.places) for block in window.blocks],
            frames=frames,
            frame=Standing(tokens, places),
            window_tokens=window.window_tokens,
        )
        self._run(inputs, layout)
        return torch.stack(layout.keys, 1), torch.stack(layout.values, 1)

    @torch.inference_mode()
    def ask(
        self, window: Window, questions: Sequence[Sequence[int]], last_layer: int | None = None
    ) -> Iterator[dict[int, Tensor]]:
        """Each question's queries by layer behind `sink | window`, `[Hq, T, D]` float32, before rotary.

        The window is laid out once. Made as they are taken, before the window changes.

        Args:
            questions: as token ids.
            last_layer: runs only so far (default: all).
        """
        context, layers = self._before_question(window, last_layer)
        for ids in questions:
            yield finished(self._queries(context, ids, layers))

    @torch.inference_mode()
    def ask_in_steps(
        self, window: Window, questions: Sequence[Sequence[int]], last_layer: int | None = None
    ) -> Steps[list[dict[int, Tensor]]]:
        """As `ask`, all of them, a chunk of tokens a step. The window may change meanwhile."""
        context, layers = self._before_question(window, last_layer)
        asked = []
        for ids in questions:
            queries = yield from self._queries(context, ids, layers)
            asked.append(queries)
        return asked

    def _before_question(self, window: Window, last_layer: int | None) -> tuple[Context, int]:
        """`sink | window` of the layers that a question runs through, and how many they are."""
        layers = self.geometry.layers if last_layer is None else last_layer + 1
        parts = [(window.sink[0], window.sink[1], None), *(part[1:] for part in window.parts())]
        return self.lay_out([(k[:layers], v[:layers]) for k, v, _ in parts], [p for *_, p in parts]), layers

    def _queries(self, context: Context, ids: Sequence[int], layers: int) -> Steps[dict[int, Tensor]]:
        """A question's queries by layer; it leaves no token in the context."""
        behind = context.tokens
        pieces: list[dict[int, Tensor]] = []
        for inputs in self._chunks(ids):
            if pieces:
                yield
            context.begin(inputs.shape[1])
            self._run(inputs, context, 0, layers)
            context.finish()
            pieces.append({layer: query.float() for layer, query in context.queries.items()})
        context.rewind(behind)
        return {layer: torch.cat([piece[layer] for piece in pieces], 1) for layer in range(layers)}

    @torch.inference_mode()
    def ask_by_layer(
        self, question_ids: Sequence[int], lay_out: Callable[[int, Tensor], Context]
    ) -> Steps[LayerwiseContext]:
        """The context that a question chooses layer by layer, as it runs; it then stands before the question.

        What a layer chooses depends on all of the question. So a question of several chunks goes through each layer
        twice: for its queries, and then, with what they chose before it, for what the next layer gets. A step is one
        chunk in one layer.

        Args:
            lay_out: as for `LayerwiseContext`, but that the queries are float32.
        """
        context = LayerwiseContext(lambda layer, queries: lay_out(layer, queries.float()))
        pieces = self._chunks(question_ids)
        for layer in range(self.geometry.layers):
            queries = []
            for piece in pieces:
                only = QueriesOnly()
                self._run(piece, only, layer, layer + 1)
                queries.append(only.query)
                if len(pieces) > 1:
                    yield
            chosen = context.choose(layer, torch.cat(queries, 1))
            behind = chosen.tokens
            for i, piece in enumerate(pieces):
                yield
                chosen.begin(piece.shape[1])
                pieces[i] = self._run(piece, OneLayer(chosen), layer, layer + 1)
                chosen.finish()
            chosen.rewind(behind)
        return context

    @torch.inference_mode()
    def lay_out(
        self, parts: Sequence[tuple[Tensor, Tensor]], places: Sequence[Places | None] = (), *, recalled: int = 0
    ) -> Context:
        """One context from keys (before rotary) and values `[L, H, T, D]`, at rising positions from 0 on.

        Args:
            places: where the tokens of each part stand, if some were left out.
            recalled: so many parts behind the first are recalled blocks, and are spread (`ModelConfig.spread_tokens`).
        """
        keys, values = (torch.cat([part[kind] for part in parts], 2) for kind in (0, 1))
        standing = [Standing(part[0].shape[2], where) for part, where in zip_longest(parts, places[: len(parts)])]
        extents = [part.extent for part in standing]
        gap = max(0, self.config.spread_tokens - sum(extents[1 : 1 + recalled])) // (recalled + 1) if recalled else 0
        position, positions = 0, []
        for i, part in enumerate(standing):
            position += gap if 1 <= i <= recalled + 1 else 0
            positions.append(position + part.positions())
            position += part.extent
        return Context(self._rotation, keys, values, torch.cat(positions).to(self.device), _ROOM_TOKENS)

    def prefill(self, context: GrowingLayout, ids: Sequence[int]) -> Tensor:
        """Adds tokens to a context, in chunks. Returns the logits `[vocabulary]` behind the last one."""
        return finished(self.prefill_in_steps(context, ids))

    @torch.inference_mode()
    def prefill_in_steps(self, context: GrowingLayout, ids: Sequence[int]) -> Steps[Tensor]:
        """As `prefill`, a chunk a step."""
        hidden = None
        for inputs in self._chunks(ids):
            if hidden is not None:
                yield
            context.begin(inputs.shape[1])
            hidden = self._run(inputs, context)
            context.finish()
        assert hidden is not None, "a prompt has at least one token"
        with self._timed():
            logits: Tensor = self._family.head(hidden[0, -1])
        return logits

    def generate(self, context: GrowingLayout, ids: Sequence[int], choose: Callable[[Tensor], int]) -> Iterator[int]:
        """The tokens of an answer behind a context and a question; see `decode`."""
        return self.decode(context, self.prefill(context, ids), choose)

    def decode(self, context: GrowingLayout, logits: Tensor, choose: Callable[[Tensor], int]) -> Iterator[int]:
        """The tokens of an answer behind what was prefilled, each computed when it is asked for.

        Ends with the first stop token, which is given out too.

        Args:
            logits: behind the last token of the context.
        """
        while (token := choose(logits)) not in self.stop_ids:
            yield token
            logits = self.prefill(context, [token])
        yield token

    def detokenizer(self) -> Detokenizer:
        """For one answer's tokens."""
        return Detokenizer(self._family.tokenizer)

    def _embed(self, ids: Sequence[int] | Sequence[list[int]]) -> Tensor:
        embedded: Tensor = self._text.embed_tokens(torch.tensor(ids, device=self.device))
        return embedded

    def _chunks(self, ids: Sequence[int]) -> list[Tensor]:
        """A prompt's embeddings, `[1, T, hidden]` each, T as large as may be prefilled at once."""
        step = self.config.chunk_tokens
        return [self._embed(ids[start : start + step])[None] for start in range(0, len(ids), step)]

    @torch.inference_mode()
    def _run(self, inputs: Tensor, layout: Layout, first: int = 0, end: int | None = None) -> Tensor:
        """Hidden states `[B, T, hidden]` behind the layers from the first to before the end, every position being 0.

        Behind the last layer they are normed, as the head wants them; before it they are what the next layer wants.
        """
        nowhere = torch.zeros(inputs.shape[:2], dtype=torch.long, device=self.device)
        with self._timed():
            hidden: Tensor = self._layers(first, self.geometry.layers if end is None else end)(
                inputs_embeds=inputs, position_ids=nowhere, use_cache=False, layout=layout
            ).last_hidden_state
        return hidden

    def _layers(self, first: int, end: int) -> Any:
        """The text model with some of its layers only, on the same weights."""
        whole, layers = self._text, self.geometry.layers
        if (first, end) == (0, layers):
            return whole
        some = copy.copy(whole)
        some._modules = dict(whole._modules)  # else both would have the same layers
        some.layers = whole.layers[first:end]
        some.norm = whole.norm if end == layers else nn.Identity()
        some.config = copy.copy(whole.config)
        some.config.num_hidden_layers = end - first
        if getattr(whole.config, "layer_types", None):
            some.config.layer_types = whole.config.layer_types[first:end]
        return some

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.forward_seconds += time.perf_counter() - began


def _choose(device: str, dtype: str) -> tuple[torch.device, torch.dtype]:
    """The device and dtype that a configuration means on this machine."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = torch.device(device)
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (chosen.index or 0) >= there[chosen.type]:
        raise ModelError(f"model.device: {device} is not there; set it to auto or cpu")
    if dtype == "auto":
        dtype = "bfloat16" if fast_at_bfloat16(chosen) else "float32"
    return chosen, getattr(torch, dtype)


def fast_at_bfloat16(device: torch.device) -> bool:
    """Whether it multiplies bfloat16 itself; where it would emulate it, float32 is faster."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(able.get("avx512_bf16") or able.get("amx_bf16"))
