"""The family's eyes and preprocessing against transformers' and Pillow's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LlavaOnevisionForConditionalGeneration

from longwatch.daemon.capture.scene import Scene
from longwatch.daemon.errors import ModelError
from longwatch.daemon.model.family import EMBEDDED, LlavaOnevision
from longwatch.daemon.model.preprocess import Preprocessor
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM


def test_visual_tokens_equal_the_familys_video_features_without_their_newline(checkpoint: str) -> None:
    family = LlavaOnevision(checkpoint, torch.device("cpu"), torch.float32)
    size = json.loads((Path(checkpoint) / "preprocessor_config.json").read_text())["size"]["height"]
    pixels = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    plain = LlavaOnevisionForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
    with torch.inference_mode():
        features = plain.model.get_video_features(
            pixels[None], vision_feature_layer=-1, vision_feature_select_strategy="full"
        )
    clip = features.pooler_output[0, :-1]
    assert torch.allclose(family.see(pixels).flatten(0, 1), clip, atol=1e-5)


@pytest.mark.parametrize("picture", ["random", "scene"])
def test_preprocessing_equals_pillows_within_a_level(picture: str) -> None:
    rng = np.random.default_rng(0)
    bgr = rng.integers(0, 255, (288, 384, 3), dtype=np.uint8) if picture == "random" else Scene(seed=3).render(40)
    values = json.loads((EMBEDDED / "preprocessor_config.json").read_text())
    ours = Preprocessor(values)([bgr])[0]
    height, width = values["size"]["height"], values["size"]["width"]
    resized = Image.fromarray(bgr[..., ::-1].copy()).resize((width, height), Image.Resampling.BICUBIC)
    plain = (np.asarray(resized, np.float32) / 255 - values["image_mean"]) / values["image_std"]
    levels = np.abs(ours.permute(1, 2, 0).numpy() - plain) * values["image_std"] * 255
    assert levels.max() <= 1.01


def test_the_sink_and_the_question_together_are_the_checkpoints_own_prompt(tiny_folder: Path) -> None:
    family = LlavaOnevision(str(tiny_folder), torch.device("cpu"), torch.float32)
    content = [{"type": "video"}, {"type": "text", "text": "who is there?"}]
    whole = family.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    ours = family.prompt.sink_ids + family.prompt.encode("<video>") + family.prompt.question_ids("who is there?")
    assert ours == family.prompt.encode(whole)


def test_a_missing_model_is_one_clear_sentence() -> None:
    with pytest.raises(ModelError, match=r"model.name: there is no folder /nowhere/at-all"):
        VideoLM.load(ModelConfig(name="/nowhere/at-all"))


def test_a_folder_that_is_no_checkpoint_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        VideoLM.load(ModelConfig(name=str(tmp_path)))


def test_a_model_of_another_family_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    with pytest.raises(ModelError, match="is a qwen2 model"):
        VideoLM.load(ModelConfig(name=str(tmp_path)))


def test_a_damaged_weight_file_is_one_clear_sentence(tiny_folder: Path, tmp_path: Path) -> None:
    for file in tiny_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        VideoLM.load(ModelConfig(name=str(tmp_path)))


def test_the_fingerprint_tells_other_weights_apart(tiny_folder: Path, tmp_path: Path) -> None:
    from ..tiny_model import write_checkpoint

    other = write_checkpoint(tmp_path / "other", seed=9)
    own = VideoLM.load(ModelConfig(name=str(tiny_folder), dtype="float32"))
    same = VideoLM.load(ModelConfig(name=str(tiny_folder), dtype="float32"))
    assert own.fingerprint == same.fingerprint
    assert own.fingerprint != VideoLM.load(ModelConfig(name=str(other), dtype="float32")).fingerprint
