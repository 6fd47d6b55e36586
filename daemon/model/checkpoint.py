"""A checkpoint's small files, its identity, and whether it is whole. Given by a folder or a Hugging Face id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

from ..errors import ModelError

_SMALL_BYTES = 16 << 20


def preprocessing_of(name: str) -> dict[str, Any]:
    """A checkpoint's preprocessing values, which transformers writes into a file of their own or of the processor."""
    if text := read_text(name, "preprocessor_config.json"):
        return dict(json.loads(text))
    processor = json.loads(read_text(name, "processor_config.json") or "{}")
    return dict(processor.get("video_processor") or processor.get("image_processor") or {})


def refuse_holes(key: str, name: str, missing: Collection[str], unused: Collection[str] = ()) -> None:
    """Weights that a checkpoint lacks would be random ones.

    Args:
        key: of the configuration, that names the checkpoint.
        unused: parts of the names of weights that may be missing.

    Raises:
        ModelError: others are missing.
    """
    holes = sorted(weight for weight in missing if not any(part in weight for part in unused))
    if holes:
        raise ModelError(f"{key}: {name} lacks {len(holes)} weights, {holes[0]} the first; fetch it again")


def read_text(name: str, file: str) -> str | None:
    """A checkpoint's small file, or None where it has none.

    Raises:
        ValueError: it is not small.
    """
    path = cached_file(
        name, file, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
    )
    if path is None:
        return None
    if (size := Path(path).stat().st_size) > _SMALL_BYTES:
        raise ValueError(f"{file} has {size} bytes; {_SMALL_BYTES} are read at most")
    return Path(path).read_text()


def fingerprint_of(name: str) -> str:
    """Hex digest of weights and configuration: whose keys, values or embeddings something is."""
    digest = hashlib.sha256()
    config = cached_file(name, "config.json")
    for path in sorted(Path(str(config)).parent.iterdir()):
        if path.name == "config.json" or path.suffix == ".safetensors":
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
