"""The embedded model's word-level tokenizer, which writes a clock digit by digit.

`14:03:20` becomes six tokens, one a digit, and each digit token knows its slot (tens of hours, hours, tens of minutes
and so on). A digit that knows its slot can be found and copied by content; one that does not must be counted off.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from longwatch.daemon.capture.scene import COLOURS, KINDS

SLOTS = "ᵃᵇᶜᵈᵉᶠ"
SPECIAL = ["<pad>", "<unk>", "<s>", "<eos>", "<q>", "<a>", "<image>", "<video>"]
WORDS = (
    "a an the is was were are did do does has have had be been there it in on off of at and or no not yes any "
    "what which when where who how many much time colour color kind thing things people you i know don't "
    "door lamp light sign number digit yard camera picture now right currently present presently moment second "
    "open closed shut lit dark show showed shown say said see saw seen look watch watched stand stood come came "
    "appear appeared arrive arrived leave left enter entered pass passed visit visited nothing empty anything "
    "something video until from since before after between during last first ago today yesterday minutes minute "
    "hour hours seconds gap missing side to with for that this one two three"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% for content in message['content'] %}{% if content['type'] == 'video' %}"
    "<s>you watch a camera<video>{% endif %}{% endfor %}"
    "{% for content in message['content'] %}{% if content['type'] == 'text' %}"
    "<q>{{ content['text'] }}{% endif %}{% endfor %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)


def build() -> PreTrainedTokenizerFast:
    """The tokenizer, with its chat template, ready to be saved beside the weights."""
    words = sorted({*WORDS.split(), *COLOURS, *KINDS, *(f"{kind}s" for kind in KINDS)})
    vocabulary = [*SPECIAL, *(f"▁{word}" for word in words)]
    vocabulary += [f"{slot}{digit}" for slot in SLOTS for digit in range(10)]
    vocabulary += [f"{space}{digit}" for space in ("▁", "") for digit in range(10)]
    vocabulary += [f"{space}{mark}" for space in ("▁", "") for mark in "[]?.,:!"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    clock_slots = [
        normalizers.Replace(Regex(pattern), slot)
        for pattern, slot in zip(
            (
                r"▁?(?<![\d:])(?=\d\d:\d\d)",
                r"(?<=ᵃ\d)(?=\d:)",
                r"(?<=ᵇ\d):(?=\d)",
                r"(?<=ᶜ\d)(?=\d)",
                r"(?<=ᵈ\d):(?=\d)",
                r"(?<=ᵉ\d)(?=\d)",
            ),
            SLOTS,
            strict=True,
        )
    ]
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Prepend("▁"),
            normalizers.Replace(Regex(r"[\s▁]+"), "▁"),
            *clock_slots,
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(rf"▁?[a-z']+|[{SLOTS}]\d|▁?\d|▁?[^\s▁]"), behavior="isolated")
    opened = {"▁": " ", "ᵃ": " ", "ᵇ": "", "ᶜ": ":", "ᵈ": "", "ᵉ": ":", "ᶠ": ""}
    tokenizer.decoder = decoders.Sequence(
        [*(decoders.Replace(mark, text) for mark, text in opened.items()), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="<eos>",
        additional_special_tokens=["<q>", "<a>", "<image>", "<video>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=32768,
    )


def save(folder: Path) -> PreTrainedTokenizerFast:
    """Writes the tokenizer's files into a checkpoint folder."""
    tokenizer = build()
    tokenizer.save_pretrained(folder)
    return tokenizer
