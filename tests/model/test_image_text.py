"""Image-text models: ours against transformers' own processors and features."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch.nn.functional import cosine_similarity
from transformers import AutoTokenizer, CLIPModel, SiglipModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from longwatch.daemon.errors import ModelError
from longwatch.daemon.model.image_text import ImageText
from longwatch.daemon.model.preprocess import Preprocessor
from longwatch.yard.scene import Scene

from ..tiny_image_text import write_clip, write_siglip

QUESTIONS = ("what colour was the van?", "was the door open", "a " * 60)


@pytest.fixture(scope="session", params=["clip", "siglip"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    write = write_clip if request.param == "clip" else write_siglip
    return write(tmp_path_factory.mktemp(request.param))


def load(folder: Path) -> ImageText:
    return ImageText(str(folder), torch.device("cpu"), torch.float32)


def pictures() -> list[NDArray[np.uint8]]:
    """Wide, tall, smaller than the model wants, and of the size that it wants."""
    rng = np.random.default_rng(0)
    sizes = ((288, 384), (101, 72), (20, 33), (30, 30), (36, 36), (37, 36))
    return [Scene(seed=3).render(40), *(rng.integers(0, 255, (*size, 3), dtype=np.uint8) for size in sizes)]


def processor(folder: Path) -> CLIPImageProcessorPil | SiglipImageProcessorPil:
    kind = SiglipImageProcessorPil if "siglip" in folder.name else CLIPImageProcessorPil
    return kind.from_pretrained(folder)


def test_pictures_are_preprocessed_as_by_the_models_own_pillow_processor_within_a_level(folder: Path) -> None:
    values = json.loads((folder / "preprocessor_config.json").read_text())
    for bgr in pictures():
        plain = processor(folder)(bgr[..., ::-1].copy(), return_tensors="pt")["pixel_values"]
        difference = (Preprocessor(values)([bgr]) - plain).abs() * torch.tensor(values["image_std"]).view(3, 1, 1)
        assert (difference * 255).max() <= 1.01


def test_old_files_say_sizes_as_single_numbers() -> None:
    rest = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    new = {"size": {"shortest_edge": 36}, "do_center_crop": True, "crop_size": {"height": 30, "width": 30}}
    old = {"size": 36, "do_center_crop": True, "crop_size": 30}
    (bgr, *_) = pictures()
    assert torch.equal(Preprocessor({**rest, **old})([bgr]), Preprocessor({**rest, **new})([bgr]))
    square = Preprocessor({**rest, "size": 36})([bgr])
    assert torch.equal(square, Preprocessor({**rest, "size": {"height": 36, "width": 36}})([bgr]))


def test_vectors_are_transformers_own_features(folder: Path) -> None:
    """The same checkpoint through its own processor, tokenizer and features; a long text is cut off."""
    ours = load(folder)
    plain = (SiglipModel if "siglip" in folder.name else CLIPModel).from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pad = "max_length" if "siglip" in folder.name else False
    for question in QUESTIONS:
        inputs = tokenizer(question, padding=pad, truncation=True, max_length=40, return_tensors="pt")
        with torch.inference_mode():
            expected = plain.get_text_features(**inputs).pooler_output[0]
        assert torch.allclose(ours.embed_words(question), expected, atol=1e-5)
    own = [processor(folder)(bgr[..., ::-1].copy(), return_tensors="pt")["pixel_values"] for bgr in pictures()]
    with torch.inference_mode():
        expected = plain.get_image_features(pixel_values=torch.cat(own)).pooler_output
    vectors = ours.embed_pictures(pictures())
    assert vectors.shape == (len(own), ours.space.dim)
    # A level here and there, of 255, tells a little; another picture tells far more.
    assert cosine_similarity(vectors, expected).min() >= 0.9999
    assert cosine_similarity(vectors, expected.roll(1, 0)).max() < 0.999


def test_a_picture_alone_has_the_vector_that_it_has_among_others(folder: Path) -> None:
    ours = load(folder)
    together = ours.embed_pictures(pictures())
    alone = torch.cat([ours.embed_pictures([bgr]) for bgr in pictures()])
    assert torch.allclose(alone, together, atol=1e-5)


def test_other_weights_are_another_space(tmp_path: Path) -> None:
    first, second = (load(write_clip(tmp_path / str(seed), seed=seed)).space for seed in (0, 1))
    assert first.dim == second.dim
    assert first != second


def test_what_is_no_image_text_model_is_one_clear_sentence(tiny_folder: Path, tmp_path: Path) -> None:
    for name in ("/nowhere/at-all", str(tmp_path)):
        with pytest.raises(ModelError, match=r"^retrieval.embedding: \S+ cannot be loaded \(.+ CLIP or SigLIP"):
            ImageText(name, torch.device("cpu"), torch.float32)
    with pytest.raises(ModelError, match=r"^retrieval.embedding: \S+ is a llava_onevision model; use a CLIP"):
        load(tiny_folder)


def test_weights_and_sizes_that_are_missing_are_refused(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "clip")
    values = json.loads((folder / "preprocessor_config.json").read_text())
    sizes = ({"size": {"longest_edge": 30}}, {"crop_size": {"height": 40, "width": 40}}, {"do_center_crop": False})
    for wrong in sizes:
        (folder / "preprocessor_config.json").write_text(json.dumps({**values, **wrong}))
        with pytest.raises(ModelError, match=r"^retrieval.embedding: the checkpoint's preprocessor_config.json asks"):
            load(folder)
    shutil.copytree(folder, tmp_path / "holes")
    weights = load_file(folder / "model.safetensors")
    gone = {name: w for name, w in weights.items() if name != "visual_projection.weight"}
    save_file(gone, tmp_path / "holes" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"^retrieval.embedding: \S+ lacks 1 weights \(the first is visual_projection"):
        load(tmp_path / "holes")
