"""The embedded model's word-level tokenizer, which writes a clock digit by digit.

`14:03:20` becomes six tokens, one a digit, and each digit token knows its slot (tens of hours, hours, tens of minutes
and so on). A digit that knows its slot can be found and copied by content; one that does not must be counted off.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from longwatch.daemon.capture.yard import COLOURS, KINDS, plural

SLOTS = "ᵃᵇᶜᵈᵉᶠ"
SPECIAL = ["<pad>", "<unk>", "<s>", "<eos>", "<q>", "<a>", "<image>", "<video>"]
WORDS = (  # what the yard is asked about, and how people ask
    "a an the is was were are be did do does has have had been there it its in on off of at by for from to with "
    "and or no not yes any none nothing something anything everything what's there's what which when where who "
    "whom whose why how many much time colour color kind sort type thing things people persons you i we me us my "
    "your our he she they them their this that these those one two three know don't didn't wasn't isn't please "
    "tell say said can could would should will want like think hey hi hello ok okay door lamp light sign gate "
    "number digit yard camera video picture house hat umbrella side half left right now right currently present "
    "presently moment second ever just still also so far then than else again once twice open opened closed shut "
    "lit dark show showed showing shows shown see saw seen look looked watch watched stand stood standing come "
    "came coming appear appeared arrive arrived leave leaving behind enter entered pass passed visit visited "
    "bring brought take took taken carry carried carrying wear wore wearing hold holding happen happened go went "
    "gone walk walked drive drove until since before after between during first last earlier later ago early late "
    "today yesterday minutes minute hour hours seconds gap missing different altogether total count"
)
OTHER_WORDS = (  # what else people ask about; the model learns that it does not know
    "weather windy sunny warm cold snow rain raining temperature degrees name names president capital country "
    "france plate licence license phone address old age tall big small fast speed heavy happy sad angry smiling "
    "laughing man woman child boy girl baby family friend friends owner driver police thief dangerous tree trees "
    "flower flowers sky cloud clouds sun moon star stars bird birds horse cow fish elephant truck bus train plane "
    "boat ship bike motorcycle tyre wheel wheels window windows roof wall garden pool street road city town river "
    "mountain music song film movie book story joke poem weekday monday sunday week month year birthday price "
    "money dollars euros buy sell eat food drink coffee water phone call email internet computer password code "
    "language english mean meaning life love hate favourite best worst why because math plus minus times equals "
    "square root write make play game football team won shirt shoes trousers face hair eyes hand leg dressed "
    "pregnant talking speaking saying sleeping running jumping"
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
    words = sorted({*WORDS.split(), *OTHER_WORDS.split(), *COLOURS, *KINDS, *(plural(kind) for kind in KINDS)})
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
