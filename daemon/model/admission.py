"""What is refused of a checkpoint before anything large of it is loaded: code, pickles, and sizes that cannot be true.

A folder may come from anybody. Nothing in it is run, nothing is asked on a terminal, and what it says of its size must
fit what it holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.utils import cached_file

from ..errors import DaemonError, ModelError
from .checkpoint import read_text

_MAY_NAME_CODE = (
    "config.json",
    "tokenizer_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_MOST_LAYERS, _LARGEST = 1024, 1 << 24  # of layers, and of any other size or number in a configuration
_WEIGHTS_A_BYTE = {False: 1, True: 4}  # at most; True is where they are quantised


@contextmanager
def loading(key: str, name: str, way_out: str) -> Iterator[None]:
    """Everything that a checkpoint's files may make a library say, as one sentence.

    Args:
        key: of the configuration, that names the checkpoint.
        way_out: what to give instead.

    Raises:
        ModelError: it cannot be loaded.
    """
    try:
        yield
    except DaemonError:
        raise
    except Exception as exc:  # tokenizers raises nothing more special, and a strange value may be any error
        reason = str(exc).strip().split("\n", 1)[0].rstrip(".") or type(exc).__name__
        raise ModelError(f"{key}: {name} cannot be loaded ({reason}); {way_out}") from exc


def refuse_code(key: str, name: str) -> None:
    """Raises:
    ModelError: loading it would mean to run Python that came with it.
    """
    for file in _MAY_NAME_CODE:
        if (text := read_text(name, file)) and (word := _names_code(json.loads(text))):
            raise ModelError(
                f"{key}: {name} wants code of its own to be run ({word} in {file}), which is never done; take a model"
                " that transformers knows by itself"
            )
    folder = Path(name)
    if folder.is_dir() and not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        if pickles:
            raise ModelError(
                f"{key}: {name} has its weights in {pickles[0]}, a format that can run code; give one with"
                " model.safetensors"
            )


def refuse_numbers(key: str, name: str) -> None:
    """Before even the configuration is made of them: some of its defaults are lists of that length.

    Raises:
        ModelError: a number in `config.json` is none that a model has.
    """
    for path, number in _numbers(json.loads(read_text(name, "config.json") or "{}")):
        most = _MOST_LAYERS if path.endswith("layers") else _LARGEST
        if not 0 <= number <= most:
            raise ModelError(f"{key}: {name} has {path} = {number} in its config.json; at most {most} can be true")


def refuse_more_than_held(key: str, name: str, config: Any, make: Callable[[], nn.Module]) -> None:
    """Compares the weights that a configuration describes with what the weight files can hold.

    Args:
        make: the model that it describes; called where tensors have shapes and no memory.

    Raises:
        ModelError: there would be more.
    """
    with torch.device("meta"):
        described = sum(weights.numel() for weights in make().parameters())
    held = sum(path.stat().st_size for path in _weight_files(name))
    if described > held * _WEIGHTS_A_BYTE[bool(getattr(config, "quantization_config", None))]:
        raise ModelError(
            f"{key}: {name} cannot be loaded (its config.json describes {described:,} weights, and its files hold"
            f" {held:,} bytes); fetch it again"
        )


def _names_code(value: Any) -> str:
    """The word in a configuration that asks for code: a class's file, or a kernel from a repository."""
    if isinstance(value, list):
        return next((word for each in value if (word := _names_code(each))), "")
    if not isinstance(value, dict):
        return ""
    for word, inner in value.items():
        if word == "auto_map" and inner:
            return str(word)
        if word.endswith("attn_implementation") and "/" in str(inner):
            return str(word)
        if found := _names_code(inner):
            return found
    return ""


def _numbers(config: dict[str, Any], path: str = "") -> Iterator[tuple[str, int]]:
    """Each whole number in a configuration that says how many or how large."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{path}{name}.")
        elif isinstance(value, int) and (name.startswith("num_") or name.endswith(("_size", "_layers", "_dim"))):
            yield f"{path}{name}", value


def _weight_files(name: str) -> list[Path]:
    if one := cached_file(name, "model.safetensors", _raise_exceptions_for_missing_entries=False):
        return [Path(one)]
    index = json.loads(read_text(name, "model.safetensors.index.json") or "{}")
    files = {str(file) for file in index.get("weight_map", {}).values()}
    return [Path(str(cached_file(name, file))) for file in sorted(files)]
