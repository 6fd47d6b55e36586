"""The words around frames and questions, cut out of a checkpoint's own chat template."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Any

from jinja2 import TemplateError

from ..errors import ModelError

BLANK = "what?"  # a question that asks for nothing, so what it finds says nothing about any
_MARK = "QUESTION-STANDS-HERE"
_ASKED = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": _MARK}]}
_EVERY_NUMBER_NS = 3661 * 1_000_000_000  # an hour, a minute and a second: sixty steps show each number in each place


class Prompt:
    """What stands before the frames (the sink), and around the question.

    Args:
        tokenizer: the checkpoint's.
        template: its chat template, or None for plain text.
        video_token: the placeholder that the template writes for a video.

    Attributes:
        sink_ids: what stands before the first frame; at least one token.
        stop_ids: the special token that the template sets behind an answer, if any.

    Raises:
        ModelError: the template leaves out the video or the question, or the tokenizer writes some clocks longer
            than others, so that frames could not be encoded side by side.
    """

    def __init__(self, tokenizer: Any, template: str | None, video_token: str) -> None:
        self._tokenizer, self._template = tokenizer, template
        text = f"{video_token}\n{_MARK}\n" if template is None else self._render([_ASKED], to_answer=True)
        before, video, rest = text.partition(video_token)
        prefix, question, suffix = rest.partition(_MARK)
        if not video or not question:
            raise ModelError(
                "model.name: the checkpoint's chat template has no place for a video and a question after it"
            )
        self._prefix, self._suffix = prefix, suffix
        self.sink_ids = self.encode(before) or [self._first_id()]
        self.stop_ids = frozenset[int]() if template is None else self._stop_ids()
        lengths = {len(self.clock_ids(i * _EVERY_NUMBER_NS)) for i in range(60)}
        if len(lengths) > 1:
            raise ModelError(
                f"model.name: the checkpoint's tokenizer writes clocks in {sorted(lengths)} tokens, not alike"
            )
        self.clock_tokens = lengths.pop()

    def question_ids(self, question: str) -> list[int]:
        """The question as the model is asked it, up to where its answer begins."""
        return self.encode(f"{self._prefix}{question.strip()}{self._suffix}")

    def clock_ids(self, time_ns: int, zone: tzinfo = UTC) -> list[int]:
        """The clock that stands before a frame: `[14:03:20]`."""
        return self.encode(f"[{_clock(time_ns, zone)}]")

    def gap_ids(self, start_ns: int, end_ns: int, zone: tzinfo = UTC) -> list[int]:
        """The line that stands for a time with no video."""
        return self.encode(f"[{_clock(start_ns, zone)}] no video until {_clock(end_ns, zone)}")

    def encode(self, text: str) -> list[int]:
        """Token ids, with the special tokens that the text itself names and no others."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def can_read(self, text: str) -> bool:
        """Whether its tokenizer has tokens for all of a text."""
        return self._tokenizer.unk_token_id not in self.encode(text)

    def _render(self, messages: list[dict[str, Any]], *, to_answer: bool) -> str:
        try:
            text: str = self._tokenizer.apply_chat_template(
                messages, chat_template=self._template, tokenize=False, add_generation_prompt=to_answer
            )
        except (TemplateError, TypeError) as exc:
            raise ModelError(f"model.name: the checkpoint's chat template cannot be rendered ({exc})") from exc
        return text

    def _stop_ids(self) -> frozenset[int]:
        answer = {"role": "assistant", "content": [{"type": "text", "text": _MARK}]}
        try:
            behind = self._render([_ASKED, answer], to_answer=False).rpartition(_MARK)[2]
        except ModelError:
            return frozenset()  # a template may know no answers: the end-of-text token still stops them
        first = self.encode(behind.lstrip())[:1]
        special = self._tokenizer.added_tokens_decoder
        return frozenset(i for i in first if i in special and special[i].special)

    def _first_id(self) -> int:
        first = self._tokenizer.bos_token_id
        return int(first if first is not None else self._tokenizer.eos_token_id)


def _clock(time_ns: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, zone).strftime("%H:%M:%S")
