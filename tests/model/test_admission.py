"""Model folders that somebody hands over: refused in a sentence before anything in them runs or asks for memory."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from longwatch.daemon.errors import ModelError
from longwatch.daemon.model.image_text import ImageText
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM

from ..tiny_image_text import write_clip


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good checkpoint, to be spoiled, with a file of code beside it; nobody is at the terminal to be asked."""
    shutil.copytree(tiny_folder, tmp_path / "model")
    (tmp_path / "model" / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').write('x')\nclass Evil: pass\n")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    return tmp_path / "model"


def change(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(content | values))


def in_text(folder: Path, **values: Any) -> None:
    content = json.loads((folder / "config.json").read_text())
    content["text_config"] |= values
    (folder / "config.json").write_text(json.dumps(content))


def refused(folder: Path) -> str:
    with pytest.raises(ModelError) as error:
        VideoLM.load(ModelConfig(name=str(folder), device="cpu", dtype="float32"))
    assert not (folder.parent / "ran").exists()
    assert str(error.value).startswith("model.name: ")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("config.json", {"auto_map": {"AutoConfig": "evil.Evil"}}),
        ("config.json", {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}),
        (
            "tokenizer_config.json",
            {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, "tokenizer_class": "Evil"},
        ),
        ("processor_config.json", {"image_processor": {"auto_map": {"AutoImageProcessor": "evil.Evil"}}}),
    ],
)
def test_a_checkpoint_that_names_code_is_refused_and_asks_nobody(
    folder: Path, file: str, values: dict[str, Any]
) -> None:
    change(folder / file, **values)
    assert f"needs code of its own to be run (auto_map in {file})" in refused(folder)


def test_a_kernel_from_somewhere_is_code_too(folder: Path) -> None:
    in_text(folder, attn_implementation="somebody/fast-attention")
    assert "attn_implementation in config.json" in refused(folder)


def test_an_unknown_kind_of_model_is_refused_and_its_file_not_run(folder: Path) -> None:
    change(folder / "config.json", model_type="evil")
    assert "cannot be loaded" in refused(folder)


def test_pickled_weights_are_refused_and_not_opened(folder: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return Path.touch, (folder.parent / "ran",)

    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Runs()))
    assert "pytorch_model.bin, a format that can run code" in refused(folder)


def test_a_size_that_no_model_has_is_refused_before_it_is_made(folder: Path) -> None:
    in_text(folder, num_hidden_layers=10**9, layer_types=None)
    assert "text_config.num_hidden_layers = 1000000000" in refused(folder)


def test_a_configuration_that_describes_more_than_the_files_hold_is_refused(folder: Path) -> None:
    in_text(folder, hidden_size=2**16, intermediate_size=2**20)
    assert "weights, and its files hold" in refused(folder)


@pytest.mark.parametrize(
    "values",
    [
        {"hidden_size": 0},
        {"num_attention_heads": 0},
        {"hidden_size": "many"},
        {"rope_parameters": 7},
        {"layer_types": []},
        {"hidden_act": "no such thing"},
        {"num_key_value_heads": None},
    ],
)
def test_nonsense_in_a_configuration_is_one_sentence(folder: Path, values: dict[str, Any]) -> None:
    in_text(folder, **values)
    assert refused(folder)


def test_a_tokenizer_that_is_nonsense_is_one_sentence(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "Nonsense"}}')
    assert "cannot be loaded" in refused(folder)


def test_a_small_file_that_is_large_is_not_read(folder: Path) -> None:
    with (folder / "config.json").open("a") as file:
        file.write(" " * (17 << 20))
    assert "config.json has" in refused(folder)


def test_weights_in_several_files_are_counted_together(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {"1.safetensors": names[::2], "2.safetensors": names[1::2]}
    for file, of_file in shards.items():
        save_file({name: weights[name] for name in of_file}, folder / file, {"format": "pt"})
    weight_map = {name: file for file, of_file in shards.items() for name in of_file}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    lm = VideoLM.load(ModelConfig(name=str(folder), device="cpu", dtype="float32"))
    assert lm.geometry.layers == 3
    (folder / "2.safetensors").write_bytes((folder / "2.safetensors").read_bytes()[:100])
    assert "cannot be loaded" in refused(folder)


def test_an_image_text_model_is_held_to_the_same(tmp_path: Path) -> None:
    for i, (file, values) in enumerate(
        [
            ("config.json", {"auto_map": {"AutoModel": "evil.Evil"}}),
            ("config.json", {"projection_dim": 2**22}),
            ("preprocessor_config.json", {"size": {"height": 10**6, "width": 10**6}, "do_center_crop": False}),
        ]
    ):
        clip = write_clip(tmp_path / str(i))
        change(clip / file, **values)
        with pytest.raises(ModelError, match=r"^retrieval.embedding: "):
            ImageText(str(clip), torch.device("cpu"), torch.float32)
