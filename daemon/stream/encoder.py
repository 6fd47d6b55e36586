"""`Encoder`: makes blocks of a stream's frames and gaps."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Collection
from typing import NamedTuple

from torch import Tensor

from ...memory.block import Block, Places
from ...memory.window import Window
from ...retrieval.signature import SignatureLayout
from ..capture.message import Frame, Gap
from ..capture.settings import SourceConfig
from ..errors import DeviceFull
from ..log import get_logger
from ..model.device_memory import device_memory
from ..model.image_text import ImageText
from ..model.token_gate import gate_frames
from ..model.video_lm import VideoLM
from .portion import Portion
from .stream_memory import StreamMemory

_WAY_OUT = "lower model.window_tokens or watch fewer streams"
OnEvent = Callable[[str, str, int, int, str], None]  # stream, kind, start and end of its time, text


class HeldFrame(NamedTuple):
    """A frame, and until when still frames said that its scene holds."""

    frame: Frame
    end_ns: int


class Encoder:
    """Runs frames through the model behind the window, and gives each block to memory and window.

    Belongs to the engine's thread.

    Args:
        window: the blocks that new ones attend to.
        embedding: the image-text model whose space the layout knows, if there is one.
        on_event: called for each block and gap.

    Attributes:
        error: why something was not kept; empty as soon as frames are kept again.
    """

    def __init__(
        self,
        stream: str,
        config: SourceConfig,
        window: Window,
        *,
        model: VideoLM,
        memory: StreamMemory,
        layout: SignatureLayout,
        embedding: ImageText | None,
        on_event: OnEvent,
    ) -> None:
        self.window, self.error = window, ""
        self._stream, self._zone = stream, config.zone()
        self._model, self._memory, self._layout, self._embedding = model, memory, layout, embedding
        self._on_event = on_event
        self._token_gate = model.new_token_gate(config.gate_cosine, config.keep_seconds)
        self._portion = Portion(model.config.chunk_frames)
        self._log = get_logger("stream").bind(stream=stream)

    def encode(self, frames: deque[HeldFrame]) -> None:
        """Makes blocks of frames, and takes each out of `frames` as soon as it is kept. What stays there is lost.

        If the device is full, fewer frames are encoded at once.

        Raises:
            DeviceFull: the device has no room for a single frame.
            StorageError: a block could not be packed.
        """
        while frames:
            some = min(len(frames), self._portion.frames)
            try:
                with device_memory("1 frame" if some == 1 else f"{some} frames", _WAY_OUT):
                    self._encode_first(frames, some)
            except DeviceFull:
                self.reset_gate()
                if not self._portion.too_much(some):
                    raise
            else:
                self._portion.went_well(some)
                self.error = ""

    def encode_gap(self, gap: Gap) -> None:
        """Makes a block of a gap, or extends the gap that it continues.

        Raises:
            DeviceFull: the device has no room for it.
            StorageError: the block could not be packed.
        """
        with device_memory("a gap", _WAY_OUT):
            if not self._memory.extend_gap(gap.start_ns, gap.end_ns):
                inputs = self._model.embed_gap(gap.start_ns, gap.end_ns, self._zone)
                self._keep(inputs, [(gap.start_ns, gap.end_ns)], [b""], gap=True)
        self.reset_gate()
        self._log.warning("gap", seconds=(gap.end_ns - gap.start_ns) / 1e9, reason=gap.reason)
        self._on_event(self._stream, "gap", gap.start_ns, gap.end_ns, gap.reason)

    def forget(self, block_ids: Collection[int]) -> None:
        """These blocks leave the window, and no token is compared with theirs."""
        self.reset_gate()
        self.window.forget(block_ids)

    def reset_gate(self) -> None:
        """The next frame is kept whole, since frames that the token gate has seen are not kept, or no more."""
        if self._token_gate is not None:
            self._token_gate.reset()

    def note_error(self, text: str) -> None:
        """Something was not kept: this is logged once, and `error` says so until frames are kept again."""
        if text not in self.error:
            self._log.error("not kept", error=text)
            self.error = text

    def _encode_first(self, frames: deque[HeldFrame], most: int) -> None:
        """Encodes the first frames; each is taken out as soon as it is kept."""
        some = list(itertools.islice(frames, most))
        times = [each.frame.utc_ns for each in some]
        inputs = self._model.embed_frames([each.frame.image for each in some], times, self._zone)
        for run in gate_frames(self._token_gate, inputs, times):
            ours = [some[i] for i in run.frames]
            if run.inputs.shape[1] == self._model.prompt.clock_tokens:  # only the time is new
                self._memory.extend_scene(ours[-1].end_ns)
                for _ in ours:
                    frames.popleft()
                continue
            spans = [(each.frame.utc_ns, each.end_ns) for each in ours]
            vectors = None
            if self._embedding is not None:
                vectors = self._embedding.embed_pictures([each.frame.image for each in ours])
            pictures = [each.frame.picture for each in ours]
            self._keep(run.inputs, spans, pictures, vectors, places=run.places, on_kept=frames.popleft)

    def _keep(
        self,
        inputs: Tensor,
        spans: list[tuple[int, int]],
        pictures: list[bytes],
        vectors: Tensor | None = None,
        *,
        places: Places | None = None,
        gap: bool = False,
        on_kept: Callable[[], object] = lambda: None,
    ) -> None:
        """Runs inputs through the model, and gives each block to the memory and then to the window.

        In this order: if the window has no room for a block, only the window lacks it.
        """
        keys, values = self._model.prefill_blocks(inputs, self.window, places)
        signatures = self._layout.signatures(keys, vectors)
        for i, (start_ns, end_ns) in enumerate(spans):
            block = Block(
                block_id=self._memory.next_id(),
                start_ns=start_ns,
                end_ns=end_ns,
                keys=keys[i],
                values=values[i],
                signature=signatures[i],
                picture=pictures[i],
                gap=gap,
                places=places,
            )
            block = self._memory.add(block)
            on_kept()
            self._on_event(self._stream, "block", start_ns, end_ns, str(block.block_id))
            self.window.append(block.block_id, block.keys, block.values, block.places)
