"""The words around frames and questions, cut out of a checkpoint's own chat template."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ..errors import ModelError

_MARK = "QUESTION-STANDS-HERE"


class Prompt:
    """What stands before the frames (the sink), and around the question.

    Args:
        tokenizer: the checkpoint's.
        template: its chat template, or None for plain text.
        video_token: the placeholder that the template writes for a video.

    Raises:
        ModelError: the template leaves out the video or the question.
    """

    def __init__(self, tokenizer: Any, template: str | None, video_token: str) -> None:
        self._tokenizer = tokenizer
        if template is None:
            text = f"{video_token}\n{_MARK}\n"
        else:
            content = [{"type": "video"}, {"type": "text", "text": _MARK}]
            text = tokenizer.apply_chat_template(
                [{"role": "user", "content": content}],
                chat_template=template,
                tokenize=False,
                add_generation_prompt=True,
            )
        before, video, rest = text.partition(video_token)
        prefix, question, suffix = rest.partition(_MARK)
        if not video or not question:
            raise ModelError("the checkpoint's chat template has no place for a video and a question after it")
        self._prefix, self._suffix = prefix, suffix
        self.sink_ids = self.encode(before) or [self._first_id()]

    def question_ids(self, question: str) -> list[int]:
        """The question as the model is asked it, up to where its answer begins."""
        return self.encode(f"{self._prefix}{question.strip()}{self._suffix}")

    def clock_ids(self, time_ns: int) -> list[int]:
        """The clock that stands before a frame: `[14:03:20]`."""
        return self.encode(f"[{_clock(time_ns)}]")

    def gap_ids(self, start_ns: int, end_ns: int) -> list[int]:
        """The line that stands for a time with no video."""
        return self.encode(f"[{_clock(start_ns)}] no video until {_clock(end_ns)}")

    def encode(self, text: str) -> list[int]:
        """Token ids, with the special tokens that the text itself names and no others."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def _first_id(self) -> int:
        first = self._tokenizer.bos_token_id
        return int(first if first is not None else self._tokenizer.eos_token_id)


def _clock(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%H:%M:%S")
