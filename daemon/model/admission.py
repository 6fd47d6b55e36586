"""What a checkpoint is refused for before anything large is loaded: code, pickles, and sizes that cannot be true.

A folder may come from anybody. Nothing in it is run, nobody is asked on a terminal, and the size that it claims must
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
_MOST_LAYERS, _LARGEST = 1024, 1 << 24  # the most layers, and the most of any other number in a configuration
_WEIGHTS_A_BYTE = {False: 1, True: 4}  # at most, not quantised and quantised


@contextmanager
def loading(key: str, name: str, way_out: str) -> Iterator[None]:
    """Turns whatever a library raises over a checkpoint's files into one sentence.

    Args:
        key: the configuration key that names the checkpoint.
        way_out: what to use instead.

    Raises:
        ModelError: it cannot be loaded.
    """
    try:
        yield
    except DaemonError:
        raise
    except Exception as exc:  # tokenizers raises plain exceptions, and a strange value can raise any
        reason = str(exc).strip().split("\n", 1)[0].rstrip(".") or type(exc).__name__
        raise ModelError(f"{key}: {name} cannot be loaded ({reason}); {way_out}") from exc


def refuse_code(key: str, name: str) -> None:
    """Refuses a checkpoint that can only be loaded by running code that came with it.

    Raises:
        ModelError: it names code, or has its weights in pickles only.
    """
    for file in _MAY_NAME_CODE:
        if (text := read_text(name, file)) and (word := _find_code_word(json.loads(text))):
            raise ModelError(
                f"{key}: {name} needs code of its own to be run ({word} in {file}), which is never done; use a model"
                " that transformers supports by itself"
            )
    folder = Path(name)
    if folder.is_dir() and not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        if pickles:
            raise ModelError(
                f"{key}: {name} has its weights in {pickles[0]}, a format that can run code; use one with"
                " model.safetensors"
            )


def refuse_numbers(key: str, name: str) -> None:
    """Refuses impossible numbers before the configuration is built: some of its defaults are lists of that length.

    Raises:
        ModelError: a number in `config.json` is negative or larger than any model has.
    """
    for path, number in _find_numbers(json.loads(read_text(name, "config.json") or "{}")):
        most = _MOST_LAYERS if path.endswith("layers") else _LARGEST
        if not 0 <= number <= most:
            raise ModelError(f"{key}: {name} has {path} = {number} in its config.json; the limit is {most}")


def refuse_more_than_held(key: str, name: str, config: Any, make: Callable[[], nn.Module]) -> None:
    """Refuses a configuration that describes more weights than the weight files can hold.

    Args:
        make: builds the model that it describes; called where tensors have shapes but take no memory.

    Raises:
        ModelError: it does.
    """
    with torch.device("meta"):
        described = sum(weights.numel() for weights in make().parameters())
    held = sum(path.stat().st_size for path in _find_weight_files(name))
    if described > held * _WEIGHTS_A_BYTE[bool(getattr(config, "quantization_config", None))]:
        raise ModelError(
            f"{key}: {name} cannot be loaded (its config.json describes {described:,} weights, and its files hold"
            f" {held:,} bytes); download it again"
        )


def _find_code_word(value: Any) -> str:
    """The key in a configuration that asks for code (a class's file, or a kernel from a repository), or nothing."""
    if isinstance(value, list):
        return next((word for each in value if (word := _find_code_word(each))), "")
    if not isinstance(value, dict):
        return ""
    for word, inner in value.items():
        if word == "auto_map" and inner:
            return str(word)
        if word.endswith("attn_implementation") and "/" in str(inner):
            return str(word)
        if found := _find_code_word(inner):
            return found
    return ""


def _find_numbers(config: dict[str, Any], path: str = "") -> Iterator[tuple[str, int]]:
    """Each whole number in a configuration that says how many or how large."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _find_numbers(value, f"{path}{name}.")
        elif isinstance(value, int) and (name.startswith("num_") or name.endswith(("_size", "_layers", "_dim"))):
            yield f"{path}{name}", value


def _find_weight_files(name: str) -> list[Path]:
    if one := cached_file(name, "model.safetensors", _raise_exceptions_for_missing_entries=False):
        return [Path(one)]
    index = json.loads(read_text(name, "model.safetensors.index.json") or "{}")
    files = {str(file) for file in index.get("weight_map", {}).values()}
    return [Path(str(cached_file(name, file))) for file in sorted(files)]
