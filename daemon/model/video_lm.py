"""`VideoLM`: frames in, keys and values out; a question and a laid-out context in, tokens out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, tzinfo
from itertools import zip_longest

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...memory.block import Places
from ...memory.window import Window
from ...retrieval.steps import Steps, finished
from ..errors import ModelError
from .context import Context, GrowingLayout
from .decoding import Detokenizer
from .device import choose_device
from .family import EMBEDDED, Family, LlavaOnevision
from .footprint import Footprint, spread_positions
from .frame_layout import FrameLayout
from .settings import ModelConfig
from .text_model import TextModel
from .token_gate import TokenGate

_ROOM_TOKENS = 320


class VideoLM:
    """One loaded model. Belongs to one thread.

    Attributes:
        text: its text model.
        geometry: layers, KV heads and head dim of its blocks.
        query_heads: query heads of a layer.
        fingerprint: hex digest of weights and configuration.
    """

    def __init__(self, family: Family, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> None:
        self.config, self.device, self.dtype = config, device, dtype
        self._family = family
        self.text = TextModel(family.text, device)
        self.geometry, self.query_heads = self.text.geometry, self.text.query_heads
        self.fingerprint = family.fingerprint
        self.prompt, self.stop_ids = family.prompt, family.stop_ids
        self.description = f"{config.name} ({family.description})"
        self._sink: tuple[Tensor, Tensor] | None = None

    @classmethod
    def load(cls, config: ModelConfig) -> VideoLM:
        """Loads a checkpoint.

        Raises:
            ModelError: it is missing, unreadable or of another family, or the device is not there.
        """
        device, dtype = choose_device(config.device, config.dtype)
        if config.threads:
            torch.set_num_threads(config.threads)
        name = str(EMBEDDED) if config.name == "embedded" else config.name
        return cls(LlavaOnevision(name, device, dtype), config, device, dtype)

    @property
    def forward_seconds(self) -> float:
        """Time spent inside the model's own forwards so far."""
        return self.text.forward_seconds

    def new_window(self, window_tokens: int | None = None) -> Window:
        """An empty window behind the sink, whose keys and values are computed once.

        Args:
            window_tokens: how much it may hold (default: as configured).
        """
        if self._sink is None:
            self._sink = self._prefill_sink()
        return Window(*self._sink, self.config.window_tokens if window_tokens is None else window_tokens)

    def _prefill_sink(self) -> tuple[Tensor, Tensor]:
        """Keys and values `[L, H, S, D]` of the prompt's first tokens: a block that sees only itself."""
        ids, (layers, heads, dim) = self.prompt.sink_ids, self.geometry
        nothing = torch.empty(layers, heads, 0, dim, device=self.device).to(self.dtype)
        layout = FrameLayout(
            self.text.rotation,
            nothing,
            nothing,
            sink_tokens=0,
            blocks=[],
            frames=1,
            frame=Footprint(len(ids)),
            window_tokens=0,
        )
        self.text.run(self.text.embed(ids)[None], layout)
        return torch.cat(layout.keys), torch.cat(layout.values)

    def new_token_gate(self, cosine: float, whole_seconds: float) -> TokenGate | None:
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
    def embed_frames(self, frames: Sequence[NDArray[np.uint8]], times_ns: Sequence[int], zone: tzinfo = UTC) -> Tensor:
        """The clock in a time zone, then the visual tokens, of each BGR frame: `[n, T, hidden]`.

        Raises:
            ModelError: the model has no vision tower.
        """
        if self._family.preprocessor is None:
            raise ModelError(f"model.name: {self.config.name} reads text only; name a vision-language model")
        pixels = self._family.preprocessor(frames).to(self.device, self.dtype)
        with self.text.timed():
            visual = self._family.encode_pixels(pixels)
        clocks = self.text.embed([self.prompt.clock_ids(time_ns, zone) for time_ns in times_ns])
        return torch.cat([clocks, visual], 1)

    @torch.inference_mode()
    def embed_gap(self, start_ns: int, end_ns: int, zone: tzinfo = UTC) -> Tensor:
        """The line of text that stands for a time with no video: `[1, T, hidden]`."""
        return self.text.embed(self.prompt.gap_ids(start_ns, end_ns, zone))[None]

    @torch.inference_mode()
    def embed_text(self, ids: Sequence[int]) -> Tensor:
        """A block of words: `[1, T, hidden]`."""
        return self.text.embed(ids)[None]

    def embed_chunks(self, ids: Sequence[int]) -> list[Tensor]:
        """A prompt in chunks, `[1, T, hidden]` each, T as large as may be prefilled at once."""
        step = self.config.chunk_tokens
        return [self.text.embed(ids[start : start + step])[None] for start in range(0, len(ids), step)]

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
            self.text.rotation,
            window.keys,
            window.values,
            sink_tokens=window.sink_tokens,
            blocks=[Footprint(block.tokens, block.places) for block in window.blocks],
            frames=frames,
            frame=Footprint(tokens, places),
            window_tokens=window.window_tokens,
        )
        self.text.run(inputs, layout)
        return torch.stack(layout.keys, 1), torch.stack(layout.values, 1)

    @torch.inference_mode()
    def lay_out(
        self, parts: Sequence[tuple[Tensor, Tensor]], places: Sequence[Places | None] = (), *, recalled: int = 0
    ) -> Context:
        """One context from keys (before rotary) and values `[L, H, T, D]`, at rising positions from 0 on.

        Args:
            places: where the tokens of each part stand, if some were left out.
            recalled: how many parts behind the first are recalled blocks. These are spread
                (`ModelConfig.spread_tokens`).
        """
        keys, values = (torch.cat([part[kind] for part in parts], 2) for kind in (0, 1))
        footprints = [Footprint(part[0].shape[2], where) for part, where in zip_longest(parts, places[: len(parts)])]
        positions = spread_positions(footprints, recalled=recalled, spread_tokens=self.config.spread_tokens)
        return Context(self.text.rotation, keys, values, positions.to(self.device), _ROOM_TOKENS)

    def prefill(self, context: GrowingLayout, ids: Sequence[int]) -> Tensor:
        """Adds tokens to a context, in chunks. Returns the logits `[vocabulary]` behind the last one."""
        return finished(self.prefill_in_steps(context, ids))

    @torch.inference_mode()
    def prefill_in_steps(self, context: GrowingLayout, ids: Sequence[int]) -> Steps[Tensor]:
        """As `prefill`, a chunk a step."""
        hidden = None
        for inputs in self.embed_chunks(ids):
            if hidden is not None:
                yield
            context.begin(inputs.shape[1])
            hidden = self.text.run(inputs, context)
            context.finish()
        assert hidden is not None, "a prompt has at least one token"
        with self.text.timed():
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

    def new_detokenizer(self) -> Detokenizer:
        """For one answer's tokens."""
        return Detokenizer(self._family.tokenizer)
