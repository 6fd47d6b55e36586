"""`LlavaOnevision`: everything that is special to the LLaVA-OneVision family."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import AutoConfig, AutoTokenizer, LlavaOnevisionForConditionalGeneration
from transformers.utils import logging as transformers_logging

from ..errors import ModelError
from .admission import loading, refuse_code, refuse_more_than_held, refuse_numbers
from .checkpoint import compute_fingerprint, read_preprocessing, read_text, refuse_missing_weights
from .preprocess import Preprocessor
from .prompt import Prompt

transformers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()

EMBEDDED = Path(__file__).parent / "embedded"
_SUPPORTED = "llava_onevision"
_WAY_OUT = "use a folder or a reachable Hugging Face id of a LLaVA-OneVision checkpoint, or 'embedded'"
_UNUSED = (".head.", "post_layernorm", "image_newline")  # weights that frames never go through


class Family(Protocol):
    """What `VideoLM` runs.

    Attributes:
        text, head: transformers' text model, and the module that turns its hidden states into logits.
        tokenizer, prompt: of the checkpoint.
        stop_ids: tokens that end an answer.
        fingerprint: hex digest of weights and configuration.
        description: a line for logs and status.
        preprocessor: makes pixels of frames; None for a model without a vision tower.
    """

    text: Any
    head: Any
    tokenizer: Any
    prompt: Prompt
    stop_ids: frozenset[int]
    fingerprint: str
    description: str
    preprocessor: Preprocessor | None

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Preprocessed pictures `[N, 3, height, width]` → visual tokens `[N, V, hidden]`."""


class LlavaOnevision:
    """A checkpoint of the family: its text model, its vision tower, its prompt and its preprocessing.

    Args:
        name: a folder or a Hugging Face id.

    Raises:
        ModelError: there is no such checkpoint, it is of another family, or a file is missing or unreadable.
    """

    def __init__(self, name: str, device: torch.device, dtype: torch.dtype) -> None:
        folder = Path(name)
        if not folder.is_dir() and (folder.is_absolute() or name.startswith(".")):
            raise ModelError(f"model.name: there is no folder {name}; use a checkpoint's folder or 'embedded'")
        with loading("model.name", name, _WAY_OUT):
            refuse_code("model.name", name)
            refuse_numbers("model.name", name)
            config = AutoConfig.from_pretrained(name, trust_remote_code=False)
            if config.model_type != _SUPPORTED:
                raise ModelError(
                    f"model.name: {name} is a {config.model_type} model; only {_SUPPORTED} models are supported so far"
                )
            refuse_more_than_held("model.name", name, config, lambda: LlavaOnevisionForConditionalGeneration(config))
            self.tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            model, loaded = LlavaOnevisionForConditionalGeneration.from_pretrained(
                name, dtype=dtype, use_safetensors=True, weights_only=True, output_loading_info=True
            )
            self.model = model.to(device).eval()
            preprocessor, template = read_preprocessing(name), self._read_chat_template(name)
        refuse_missing_weights("model.name", name, loaded["missing_keys"], _UNUSED)
        self.text: Any = self.model.model.language_model
        self.head: Any = self.model.lm_head
        self.preprocessor: Preprocessor | None = Preprocessor(preprocessor)
        video_token = self.tokenizer.convert_ids_to_tokens(config.video_token_index)
        self.prompt = Prompt(self.tokenizer, template, video_token)
        self.stop_ids = self._read_stop_ids() | self.prompt.stop_ids
        self.fingerprint = compute_fingerprint(name)
        self.description = describe(config)

    @torch.inference_mode()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Preprocessed pictures `[N, 3, height, width]` → visual tokens `[N, V, hidden]`.

        As in the family's video path: vision tower, projector, bilinear pooling by two. It leaves out the newline
        token that would end a clip, as a stream has no end.
        """
        config, inner = self.model.config, self.model.model
        tower = inner.vision_tower(pixels, output_hidden_states=True)
        layer = config.vision_feature_layer
        if isinstance(layer, int):
            patches = tower.hidden_states[layer]
        else:
            patches = torch.cat([tower.hidden_states[i] for i in layer], -1)
        if config.vision_feature_select_strategy == "default":
            patches = patches[:, 1:]
        projected = inner.multi_modal_projector(patches)
        side = config.vision_config.image_size // config.vision_config.patch_size
        grid = projected.unflatten(1, (side, side)).permute(0, 3, 1, 2)
        half = math.ceil(side / 2)
        return interpolate(grid, size=(half, half), mode="bilinear").flatten(2).transpose(1, 2)

    def _read_chat_template(self, name: str) -> str | None:
        """The processor's template. The tokenizer's, which may be for text only, is the last resort."""
        if text := read_text(name, "chat_template.jinja"):
            return text
        if text := read_text(name, "chat_template.json"):
            return str(json.loads(text)["chat_template"])
        return self.tokenizer.chat_template and str(self.tokenizer.chat_template)

    def _read_stop_ids(self) -> frozenset[int]:
        stop = self.model.generation_config.eos_token_id
        named = [stop] if isinstance(stop, int) else list(stop or [])
        return frozenset(i for i in [*named, self.tokenizer.eos_token_id] if i is not None)


def describe(config: Any) -> str:
    """A line about a model for logs and status."""
    text = config.text_config
    return f"{config.model_type}, {text.num_hidden_layers} layers, {text.hidden_size} wide"
