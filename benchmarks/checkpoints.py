"""Random weights in the geometry of a public checkpoint: right for time and size, of no use for answers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import (
    AutoConfig,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)

from longwatch.daemon.model.family import EMBEDDED

_PREPROCESSOR = """{"size": {"height": 384, "width": 384}, "resample": 3, "rescale_factor": 0.00392156862745098,
"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}"""


class Geometry(NamedTuple):
    """What decides the time and the size of a public checkpoint's text model."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int


HALF_BILLION = Geometry(896, 4864, 24, 14, 2)  # LLaVA-OneVision-Qwen2-0.5B: head dim 64, 196 visual tokens a frame
SEVEN_BILLION = Geometry(3584, 18944, 28, 28, 4)  # LLaVA-OneVision-Qwen2-7B: head dim 128


def write_checkpoint(folder: Path, geometry: Geometry) -> Path:
    """A checkpoint with random weights, in bfloat16.

    The vocabulary is the embedded model's: what a frame costs does not depend on it.
    """
    torch.manual_seed(0)
    words = AutoConfig.from_pretrained(EMBEDDED)
    text = Qwen2Config(
        vocab_size=words.text_config.vocab_size,
        hidden_size=geometry.hidden,
        intermediate_size=geometry.intermediate,
        num_hidden_layers=geometry.layers,
        num_attention_heads=geometry.heads,
        num_key_value_heads=geometry.kv_heads,
        max_position_embeddings=32768,
        rope_theta=1_000_000.0,
    )
    vision = SiglipVisionConfig(
        hidden_size=1152,
        intermediate_size=4304,
        num_hidden_layers=26,
        num_attention_heads=16,
        image_size=384,
        patch_size=14,
        vision_use_head=False,
    )
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=words.image_token_index,
        video_token_index=words.video_token_index,
        vision_feature_layer=-1,
    )
    model = LlavaOnevisionForConditionalGeneration(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(EMBEDDED / name, folder / name)
    (folder / "preprocessor_config.json").write_text(_PREPROCESSOR)
    return folder
