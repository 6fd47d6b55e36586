"""Random CLIP and SigLIP checkpoints, small enough to be written and loaded in a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipModel,
    SiglipTextConfig,
    SiglipVisionConfig,
)

from .tiny_model import byte_tokenizer

TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {**TOWER, "max_position_embeddings": 40}
MEAN_AND_STD = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}


def write_clip(folder: Path, *, dim: int = 24, seed: int = 0) -> Path:
    """Shorter side 36, cropped to 30 x 30; vectors of `dim` numbers."""
    torch.manual_seed(seed)
    tokenizer = _tokenizer()
    text = CLIPTextConfig(
        **TEXT,
        vocab_size=len(tokenizer),
        projection_dim=dim,
        eos_token_id=tokenizer.eos_token_id,
        initializer_factor=8.0,
    )
    vision = CLIPVisionConfig(**TOWER, image_size=30, patch_size=10, projection_dim=dim, initializer_factor=8.0)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=dim, initializer_factor=8.0)
    values = {"size": {"shortest_edge": 36}, "do_center_crop": True, "crop_size": {"height": 30, "width": 30}}
    return _write(folder, CLIPModel(config), tokenizer, values)


def write_siglip(folder: Path, *, seed: int = 0) -> Path:
    """30 x 30, not cropped; vectors of 32 numbers."""
    torch.manual_seed(seed)
    tokenizer = _tokenizer()
    text = SiglipTextConfig(**TEXT, vocab_size=len(tokenizer), projection_size=32)
    vision = SiglipVisionConfig(**TOWER, image_size=30, patch_size=10)
    config = SiglipConfig(text_config=text, vision_config=vision)
    return _write(folder, SiglipModel(config), tokenizer, {"size": {"height": 30, "width": 30}})


def _tokenizer() -> PreTrainedTokenizerFast:
    """A token a byte, and the last one behind."""
    tokenizer = byte_tokenizer()
    end = str(tokenizer.eos_token)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    return tokenizer


def _write(folder: Path, model: Any, tokenizer: PreTrainedTokenizerFast, values: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    content = {"resample": 3, "rescale_factor": 1 / 255, **MEAN_AND_STD, **values}
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    return folder
