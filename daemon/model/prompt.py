"""`Prompt`: the words around frames and questions, cut out of a checkpoint's own chat template."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

from ..errors import ModelError
from .template import Chat, ChatTemplate

BLANK = "what?"  # asks for nothing: what attention it pays a block, every question pays
_MARK = "QUESTION-STANDS-HERE"
_ASKED = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": _MARK}]}
_EVERY_NUMBER_NS = 3661 * 1_000_000_000  # 01:01:01: sixty such steps show every number in every place


class Prompt:
    """What comes before the frames (the sink), and around the question.

    Args:
        tokenizer: the checkpoint's.
        template: its chat template, or None for plain text.
        video_token: the placeholder that the template writes for a video.

    Attributes:
        sink_ids: the tokens before the first frame; at least one.
        stop_ids: the special token that the template puts behind an answer, if any.
        clock_tokens: how many tokens every clock has.

    Raises:
        ModelError: the template leaves out the video or the question, or some clocks have more tokens than others,
            so that frames could not be encoded side by side.
    """

    def __init__(self, tokenizer: Any, template: str | None, video_token: str) -> None:
        self._tokenizer = tokenizer
        text, behind = f"{video_token}\n{_MARK}\n", ""
        if template is not None:
            text, behind = _cut_out(template, tokenizer.special_tokens_map)
        before, video, rest = text.partition(video_token)
        prefix, question, suffix = rest.partition(_MARK)
        if not video or not question:
            raise ModelError(
                "model.name: the checkpoint's chat template has no place for a video and a question after it"
            )
        self._prefix, self._suffix = prefix, suffix
        self._special = {
            i: str(token) for i, token in tokenizer.added_tokens_decoder.items() if token.special and str(token)
        }
        self._special |= {i: video_token for i in [tokenizer.convert_tokens_to_ids(video_token)] if i is not None}
        self._special.pop(tokenizer.unk_token_id, None)  # it also replaces ordinary words that have no token
        self._special_words = re.compile("|".join(map(re.escape, self._special.values())) or "(?!)", re.IGNORECASE)
        self.sink_ids = self.encode(before) or [self._choose_first_id()]
        self.stop_ids = frozenset(i for i in self.encode(behind.lstrip())[:1] if i in self._special)
        lengths = {len(self.clock_ids(i * _EVERY_NUMBER_NS)) for i in range(60)}
        if len(lengths) > 1:
            raise ModelError(
                f"model.name: the checkpoint's tokenizer needs {sorted(lengths)} tokens for a clock time, not always"
                " the same number"
            )
        self.clock_tokens = lengths.pop()

    def question_ids(self, question: str) -> list[int]:
        """The question as the model gets it, up to where its answer begins.

        Only the template may use special tokens. If a question spells one out, that is text.
        """
        ids = self.encode(f"{self._prefix}{question.strip()}{self._suffix}")
        around = self.encode(self._prefix), self.encode(self._suffix)
        if self._only_special(ids) == self._only_special([*around[0], *around[1]]):
            return ids
        return [*around[0], *self._encode_words(question.strip()), *around[1]]

    def clock_ids(self, time_ns: int, zone: tzinfo = UTC) -> list[int]:
        """The clock before a frame: `[14:03:20]`."""
        return self.encode(f"[{_format_clock(time_ns, zone)}]")

    def gap_ids(self, start_ns: int, end_ns: int, zone: tzinfo = UTC) -> list[int]:
        """The line that stands for a time with no video."""
        return self.encode(f"[{_format_clock(start_ns, zone)}] no video until {_format_clock(end_ns, zone)}")

    def encode(self, text: str) -> list[int]:
        """Token ids, with the special tokens that the text names and no others. Not for text from a client."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def can_read(self, text: str) -> bool:
        """Whether the tokenizer has tokens for all of a text."""
        return self._tokenizer.unk_token_id not in self.encode(text)

    def _encode_words(self, text: str) -> list[int]:
        """Token ids of a client's text, none of them special."""
        ids: list[int] = []
        for piece in self._split_pieces(text):
            ids += self._tokenizer(piece, add_special_tokens=False, split_special_tokens=True).input_ids
        return [i for i in ids if i not in self._special]

    def _split_pieces(self, text: str) -> Iterator[str]:
        """Cuts each special token that a text spells behind its first character, as some tokenizers would not."""
        start = 0
        for found in self._special_words.finditer(text):
            yield text[start : found.start() + 1]
            start = found.start() + 1
        yield text[start:]

    def _only_special(self, ids: list[int]) -> list[int]:
        return [i for i in ids if i in self._special]

    def _choose_first_id(self) -> int:
        first = self._tokenizer.bos_token_id
        return int(first if first is not None else self._tokenizer.eos_token_id)


def _cut_out(template: str, names: Mapping[str, str]) -> tuple[str, str]:
    """What a template writes for a video and an open question, and what it puts behind an answer."""
    answer = {"role": "assistant", "content": [{"type": "text", "text": _MARK}]}
    asked, answered = ChatTemplate(template, names).render([Chat([_ASKED], True), Chat([_ASKED, answer], False)])
    if isinstance(asked, ModelError):
        raise asked
    # Some templates cannot render an answer. The end-of-text token still stops it.
    return asked, "" if isinstance(answered, ModelError) else answered.rpartition(_MARK)[2]


def _format_clock(time_ns: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, zone).strftime("%H:%M:%S")
