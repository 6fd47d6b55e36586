"""The embedded model's shape, a small LLaVA-OneVision, and the folder it is saved in."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration, Qwen2Config, SiglipVisionConfig

from . import tokenizer as tokenizers

IMAGE_PIXELS, PATCH_PIXELS, VISUAL_TOKENS = 96, 12, 16
ROPE_THETA = 1e8  # over half of a head's pairs hardly turn within a context, so a token is known wherever it stands


def new_model() -> LlavaOnevisionForConditionalGeneration:
    """A fresh model: SigLIP 96 px / 12, 128 wide, 4 layers; Qwen2 256 wide, 6 layers, 4 heads over 2."""
    tokenizer = tokenizers.build()
    vision = SiglipVisionConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=IMAGE_PIXELS,
        patch_size=PATCH_PIXELS,
        vision_use_head=False,
    )
    text = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.05,
    )
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=[[IMAGE_PIXELS, IMAGE_PIXELS]],
        tie_word_embeddings=True,
    )
    return LlavaOnevisionForConditionalGeneration(config)


def visual_tokens(model: LlavaOnevisionForConditionalGeneration, images: torch.Tensor) -> torch.Tensor:
    """`[N, 3, 96, 96]` uint8 RGB → `[N, 16, 256]`, as the daemon computes them."""
    pixels = images.to(torch.float32) / 127.5 - 1.0
    tower = model.model.vision_tower(pixels, output_hidden_states=True)
    patches = model.model.multi_modal_projector(tower.hidden_states[-1])
    count, _, width = patches.shape
    side = IMAGE_PIXELS // PATCH_PIXELS
    grid = patches.view(count, side, side, width).permute(0, 3, 1, 2)
    pooled = torch.nn.functional.interpolate(grid, size=(side // 2, side // 2), mode="bilinear")
    return pooled.flatten(2).transpose(1, 2)


def save(model: LlavaOnevisionForConditionalGeneration, folder: Path) -> None:
    """Writes weights (bf16), configuration, tokenizer and preprocessing values."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizers.save(folder)
    weights = {name: value.to(torch.bfloat16) for name, value in model.state_dict().items()}
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder, state_dict=weights)
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = config["text_config"]["dtype"] = config["vision_config"]["dtype"] = "bfloat16"
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    size = {"height": IMAGE_PIXELS, "width": IMAGE_PIXELS}
    preprocessor = {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "image_grid_pinpoints": [[IMAGE_PIXELS, IMAGE_PIXELS]],
        "image_processor_type": "LlavaOnevisionImageProcessor",
        "processor_class": "LlavaOnevisionProcessor",
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": size,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n")
