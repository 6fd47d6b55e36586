"""The family's eyes and preprocessing against transformers' and Pillow's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlavaOnevisionForConditionalGeneration
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

from longwatch.daemon.errors import ModelError
from longwatch.daemon.model.family import EMBEDDED, LlavaOnevision
from longwatch.daemon.model.preprocess import Preprocessor
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.yard.scene import Scene

from ..tiny_model import TEMPLATE, write_checkpoint


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
    assert torch.allclose(family.encode_pixels(pixels).flatten(0, 1), clip, atol=1e-5)


@pytest.mark.parametrize("picture", ["random", "scene", "smaller"])
def test_preprocessing_equals_the_familys_pillow_processor_within_a_level(tiny_folder: Path, picture: str) -> None:
    bgr = Scene(seed=3).render(40)
    if picture != "scene":
        size = (288, 384, 3) if picture == "random" else (31, 77, 3)
        bgr = np.random.default_rng(0).integers(0, 255, size, dtype=np.uint8)
    for folder in (EMBEDDED, tiny_folder):
        values = json.loads((folder / "preprocessor_config.json").read_text())
        side = values["size"]["height"]
        plain = LlavaOnevisionImageProcessorPil(
            size=values["size"],
            resample=values["resample"],
            image_mean=values["image_mean"],
            image_std=values["image_std"],
            image_grid_pinpoints=[[side, side]],
        )
        whole_then_tiles = plain(bgr[..., ::-1].copy(), return_tensors="pt")["pixel_values"][0]
        difference = (Preprocessor(values)([bgr])[0] - whole_then_tiles[0]).abs()
        levels = difference * torch.tensor(values["image_std"]).view(3, 1, 1) * 255
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


def test_the_processors_template_goes_before_a_text_only_one_of_the_tokenizer(
    tiny_folder: Path, tmp_path: Path
) -> None:
    """As the published LLaVA-OneVision checkpoints may have it: two templates, one of which knows no video."""
    shutil.copytree(tiny_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    (tmp_path / "chat_template.jinja").unlink()
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings["chat_template"] = "{% for message in messages %}{{ message['content'] + '<|end|>' }}{% endfor %}"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    both = [VideoLM.load(ModelConfig(name=str(folder), dtype="float32")).prompt for folder in (tiny_folder, tmp_path)]
    assert both[0].question_ids("who?") == both[1].question_ids("who?")

    (tmp_path / "chat_template.json").unlink()
    with pytest.raises(ModelError, match="chat template cannot be rendered"):
        VideoLM.load(ModelConfig(name=str(tmp_path), dtype="float32"))


def test_preprocessing_values_are_found_in_a_processors_file_too(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path, dirs_exist_ok=True)
    values = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match="lacks image_mean, image_std, size"):
        VideoLM.load(ModelConfig(name=str(tmp_path)))
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": values}))
    lm = VideoLM.load(ModelConfig(name=str(tmp_path), dtype="float32"))
    assert lm.embed_frames([np.zeros((40, 50, 3), np.uint8)], [0]).shape[0] == 1


def test_weights_that_are_missing_are_refused_and_never_random(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    gone = next(name for name in weights if "q_proj.weight" in name)
    save_file({n: w for n, w in weights.items() if n != gone}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="lacks 1 weights"):
        VideoLM.load(ModelConfig(name=str(tmp_path)))


def test_rotary_scaling_that_changes_with_the_length_is_refused(tmp_path: Path) -> None:
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    with pytest.raises(ModelError, match="rotary scaling dynamic"):
        VideoLM.load(ModelConfig(name=str(write_checkpoint(tmp_path, rope=rope))))


def test_a_device_that_is_not_there_is_one_clear_sentence() -> None:
    with pytest.raises(ModelError, match=r"model.device: cuda:99 is not there"):
        VideoLM.load(ModelConfig(device="cuda:99"))


def test_a_damaged_weight_file_is_one_clear_sentence(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path, dirs_exist_ok=True)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        VideoLM.load(ModelConfig(name=str(tmp_path)))


def test_the_fingerprint_tells_other_weights_apart(tiny_folder: Path, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "other", seed=9)
    own = VideoLM.load(ModelConfig(name=str(tiny_folder), dtype="float32"))
    same = VideoLM.load(ModelConfig(name=str(tiny_folder), dtype="float32"))
    assert own.fingerprint == same.fingerprint
    assert own.fingerprint != VideoLM.load(ModelConfig(name=str(other), dtype="float32")).fingerprint
