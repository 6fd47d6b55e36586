"""`ImageText`: a CLIP-like model that puts pictures and words into one space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from ...retrieval.embedding import EmbeddingSpace
from ..errors import ModelError
from .checkpoint import fingerprint_of, preprocessing_of, refuse_holes
from .preprocess import Preprocessor

KEY = "retrieval.embedding"


class ImageText:
    """One loaded model (CLIP, arXiv 2103.00020; SigLIP, arXiv 2303.15343). Belongs to one thread.

    Args:
        name: a folder or a Hugging Face id.

    Attributes:
        space: where its vectors lie.

    Raises:
        ModelError: there is no such checkpoint, it embeds no pictures and texts, or a file is missing or unreadable.
    """

    def __init__(self, name: str, device: torch.device, dtype: torch.dtype) -> None:
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(name)
            model, loading = AutoModel.from_pretrained(
                name, dtype=dtype, use_safetensors=True, output_loading_info=True
            )
            values = preprocessing_of(name)
        except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as exc:
            reason = str(exc).strip().split("\n", 1)[0].rstrip(".")
            raise ModelError(
                f"{KEY}: {name} cannot be loaded ({reason}); give a folder or a reachable Hugging Face id of a CLIP or"
                " SigLIP checkpoint"
            ) from exc
        if not (hasattr(model, "get_image_features") and hasattr(model, "get_text_features")):
            raise ModelError(f"{KEY}: {name} is a {model.config.model_type} model; only CLIP and SigLIP models will do")
        refuse_holes(KEY, name, loading["missing_keys"])
        self._model: Any = model.to(device).eval()
        self._preprocessor = Preprocessor(values, KEY)
        self._words: dict[str, Any] = {
            "truncation": True,
            "max_length": model.config.text_config.max_position_embeddings,
            "return_tensors": "pt",
        }
        if model.config.model_type.startswith("siglip"):
            self._words["padding"] = "max_length"  # as it was trained
        self._device, self._dtype = device, dtype
        self.space = EmbeddingSpace(len(self.words("how wide is a vector?")), fingerprint_of(name))

    @torch.inference_mode()
    def pictures(self, frames: Sequence[NDArray[np.uint8]]) -> Tensor:
        """BGR frames `[H, W, 3]` → vectors `[n, E]`."""
        pixels = self._preprocessor(frames).to(self._device, self._dtype)
        vectors: Tensor = self._model.get_image_features(pixel_values=pixels).pooler_output
        return vectors

    @torch.inference_mode()
    def words(self, text: str) -> Tensor:
        """A text → its vector `[E]`. What is too long for the model is cut off."""
        inputs = self._tokenizer(text, **self._words).to(self._device)
        vectors: Tensor = self._model.get_text_features(**inputs).pooler_output
        return vectors[0]
