"""A checkpoint (a folder or a Hugging Face id): its small files, its fingerprint, and whether it is complete."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

from ..errors import ModelError

_SMALL_BYTES = 16 << 20


def read_preprocessing(name: str) -> dict[str, Any]:
    """A checkpoint's preprocessing values. Transformers writes them into their own file or into the processor's."""
    if text := read_text(name, "preprocessor_config.json"):
        return dict(json.loads(text))
    processor = json.loads(read_text(name, "processor_config.json") or "{}")
    return dict(processor.get("video_processor") or processor.get("image_processor") or {})


def refuse_missing_weights(key: str, name: str, missing: Collection[str], unused: Collection[str] = ()) -> None:
    """Refuses a checkpoint that lacks weights: transformers would make up random ones.

    Args:
        key: the configuration key that names the checkpoint.
        unused: weights with these words in their names may be missing.

    Raises:
        ModelError: others are missing.
    """
    lost = sorted(weight for weight in missing if not any(part in weight for part in unused))
    if lost:
        raise ModelError(f"{key}: {name} lacks {len(lost)} weights (the first is {lost[0]}); download it again")


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
        raise ValueError(f"{file} has {size} bytes; the limit is {_SMALL_BYTES}")
    return Path(path).read_text()


def compute_fingerprint(name: str) -> str:
    """Hex digest of weights and configuration. It tells which model made some keys, values or embeddings."""
    digest = hashlib.sha256()
    config = cached_file(name, "config.json")
    for path in sorted(Path(str(config)).parent.iterdir()):
        if path.name == "config.json" or path.suffix == ".safetensors":
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
