"""`ImageText`: a CLIP-like model that embeds pictures and words in one space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import MODEL_MAPPING, AutoConfig, AutoTokenizer

from ...retrieval.embedding import EmbeddingSpace
from ..errors import ModelError
from .admission import loading, refuse_code, refuse_more_than_held, refuse_numbers
from .checkpoint import compute_fingerprint, read_preprocessing, refuse_missing_weights
from .preprocess import Preprocessor

KEY = "retrieval.embedding"
_WAY_OUT = "give a folder or a reachable Hugging Face id of a CLIP or SigLIP checkpoint"


class ImageText:
    """One loaded model (CLIP, arXiv 2103.00020; SigLIP, arXiv 2303.15343). Belongs to one thread.

    Args:
        name: a folder or a Hugging Face id.

    Attributes:
        space: where its vectors lie.

    Raises:
        ModelError: there is no such checkpoint, it is of another kind, or a file is missing or unreadable.
    """

    def __init__(self, name: str, device: torch.device, dtype: torch.dtype) -> None:
        with loading(KEY, name, _WAY_OUT):
            refuse_code(KEY, name)
            refuse_numbers(KEY, name)
            config = AutoConfig.from_pretrained(name, trust_remote_code=False)
            model_class = MODEL_MAPPING.get(type(config), None)
            if not (hasattr(model_class, "get_image_features") and hasattr(model_class, "get_text_features")):
                raise ModelError(f"{KEY}: {name} is a {config.model_type} model; use a CLIP or SigLIP model")
            refuse_more_than_held(KEY, name, config, lambda: model_class(config))
            self._tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            model, loaded = model_class.from_pretrained(
                name, dtype=dtype, use_safetensors=True, weights_only=True, output_loading_info=True
            )
            values = read_preprocessing(name)
        refuse_missing_weights(KEY, name, loaded["missing_keys"])
        self._model: Any = model.to(device).eval()
        self._preprocessor = Preprocessor(values, KEY)
        self._tokenizing: dict[str, Any] = {
            "truncation": True,
            "max_length": model.config.text_config.max_position_embeddings,
            "return_tensors": "pt",
            "split_special_tokens": True,  # a question's words are words, whatever they spell
        }
        if model.config.model_type.startswith("siglip"):
            self._tokenizing["padding"] = "max_length"  # as it was trained
        self._device, self._dtype = device, dtype
        self.space = EmbeddingSpace(len(self.embed_words("how wide is a vector?")), compute_fingerprint(name))

    @torch.inference_mode()
    def embed_pictures(self, frames: Sequence[NDArray[np.uint8]]) -> Tensor:
        """BGR frames `[H, W, 3]` → vectors `[n, E]`."""
        pixels = self._preprocessor(frames).to(self._device, self._dtype)
        vectors: Tensor = self._model.get_image_features(pixel_values=pixels).pooler_output
        return vectors

    @torch.inference_mode()
    def embed_words(self, text: str) -> Tensor:
        """A text → its vector `[E]`. A text too long for the model is cut off."""
        inputs = self._tokenizer(text, **self._tokenizing).to(self._device)
        vectors: Tensor = self._model.get_text_features(**inputs).pooler_output
        return vectors[0]
