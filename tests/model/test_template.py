"""Chat templates in their child process: what transformers makes of them, and what they are kept from."""

from __future__ import annotations

from pathlib import Path

import pytest

from longwatch.daemon.errors import ModelError
from longwatch.daemon.model.family import EMBEDDED
from longwatch.daemon.model.prompt import Prompt
from longwatch.daemon.model.template import Chat, ChatTemplate

from ..tiny_model import TEMPLATE, byte_tokenizer

ASKED = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": 'who <is> "there"?'}]}]
ANSWERED = [*ASKED, {"role": "assistant", "content": [{"type": "text", "text": "ann"}]}]
QWEN = (  # as Qwen2-VL writes it
    "{% set videos = namespace(value=0) %}{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'video' or 'video' in content %}"
    "{% set videos.value = videos.value + 1 %}"
    "{% if add_vision_id %}Video {{ videos.value }}: {% endif %}"
    "<|vision_start|><|video_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
OTHER = (  # what else templates use: filters, breaks, macros, dates, marks for training
    "{{ bos_token }}{%- macro say(x) -%}{{ x | trim }}{%- endmacro -%}\n  {% for m in messages %}\n"
    "{% if loop.index > 2 %}{% break %}{% endif %}{% generation %}{{ say(m.content | tojson) }}{% endgeneration %}"
    "{% endfor %}{{ strftime_now('%Y')[:2] }}{{ dict(a=1).items() | list }}{{ undefined_thing }}"
    "{{ messages[0].role.upper() }}"
)


@pytest.mark.parametrize("template", [TEMPLATE, QWEN, OTHER, (EMBEDDED / "chat_template.jinja").read_text()])
def test_a_template_is_rendered_as_transformers_renders_it(template: str) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<|user|>"})
    rendered = ChatTemplate(template, tokenizer.special_tokens_map).render([Chat(ASKED, True), Chat(ANSWERED, False)])
    assert rendered == [
        tokenizer.apply_chat_template(chat, chat_template=template, tokenize=False, add_generation_prompt=to_answer)
        for chat, to_answer in ((ASKED, True), (ANSWERED, False))
    ]


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "takes too long"),
        ("{{ 'x' * 99999999999 }}", "too much memory"),
        ("{% for a in range(9999) %}{{ 'x' * 9999 }}{% endfor %}", "more than 65536 characters"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "too much memory"),
        ("{{ 'x'.__class__.__mro__ }}", "unsafe"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ 1 + 'x' }}", "unsupported operand"),
        ("{% if %}", "Expected an expression"),
        ("{% set n = namespace(__class__=1) %}", "cannot store"),
        ("x" * 300_000, "3002.. characters"),
    ],
)
def test_a_template_that_goes_too_far_is_refused_in_a_sentence(template: str, why: str) -> None:
    with pytest.raises(ModelError, match=f"chat template cannot be rendered .*{why}"):
        Prompt(byte_tokenizer(), template + TEMPLATE, "<video>")


def test_a_template_can_run_no_command(tmp_path: Path) -> None:
    """Through what jinja keeps in its own functions, where the sandbox did not look."""
    mark = tmp_path / "ran"
    for way in (
        "cycler.__init__.__globals__.os",
        "self.__init__.__globals__.os",
        "(dict | attr('__globals__'))['datetime']",
        "(strftime_now | attr('__globals__'))['resource']",
        "namespace.__init__.__globals__['sys'].modules['os']",
        "raise_exception.__globals__['sys'].modules['os']",
    ):
        attack = ChatTemplate("{{ " + way + ".system('touch " + str(mark) + "') }}", {})
        (answer,) = attack.render([Chat(ASKED, True)])
        assert isinstance(answer, ModelError), way
    assert not mark.exists()
