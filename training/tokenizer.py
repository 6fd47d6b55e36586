"""The embedded model's word-level tokenizer, which writes a clock digit by digit.

`14:03:20` becomes six tokens, one for each digit, and each token says the digit's slot (tens of hours, hours, tens of
minutes and so on). Such a digit can be found and copied by its content. Without the slot it would have to be counted.
"""

from __future__ import annotations

import re
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from longwatch.yard.phrases import PHRASES, SEEN_WORDS
from longwatch.yard.state import COLOURS, KINDS, plural

from .speech import ENDINGS, OPENINGS, SMALL_WORDS

SLOTS = "ᵃᵇᶜᵈᵉᶠ"
SPECIAL = ["<pad>", "<unk>", "<s>", "<eos>", "<q>", "<a>", "<image>", "<video>"]
ANSWERS = "yes no none nothing i don't know saw on the left right at a an and"
NAMED = "open closed off on left took brought first last door lamp gate sign camera yard hat umbrella"
AROUND = "you watch a camera no video until"  # the words around frames and gaps
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% for content in message['content'] %}{% if content['type'] == 'video' %}"
    "<s>you watch a camera<video>{% endif %}{% endfor %}"
    "{% for content in message['content'] %}{% if content['type'] == 'text' %}"
    "<q>{{ content['text'] }}{% endif %}{% endfor %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)


def words() -> list[str]:
    """Every word that training teaches. All others are `<unk>`, which is taught too."""
    templates = " ".join(phrase for phrases in PHRASES.values() for phrase in phrases.seen)
    spoken = re.findall(r"[a-z']+", re.sub(r"{.*?}", " ", templates))
    loose = " ".join((*OPENINGS, *ENDINGS, SMALL_WORDS)).split()
    named = [*COLOURS, *KINDS, *(plural(kind) for kind in KINDS)]
    return sorted({*spoken, *loose, *named, *f"{SEEN_WORDS} {ANSWERS} {NAMED} {AROUND}".split()})


def build() -> PreTrainedTokenizerFast:
    """The tokenizer, with its chat template, ready to be saved beside the weights."""
    vocabulary = [*SPECIAL, *(f"▁{word}" for word in words())]
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
