"""Sampling and text that comes token by token."""

from __future__ import annotations

import pytest
import torch

from longwatch.daemon.model.decoding import Detokenizer, sample

from ..tiny_model import byte_tokenizer


def test_temperature_zero_takes_the_likeliest() -> None:
    assert sample(torch.tensor([0.1, 3.0, 2.9]), 0.0, 1.0, None) == 1


def test_a_seed_gives_the_same_tokens_again() -> None:
    logits = torch.randn(50, generator=torch.Generator().manual_seed(0))
    draws = [
        [sample(logits, 1.0, 1.0, generator) for _ in range(20)]
        for generator in (torch.Generator().manual_seed(4), torch.Generator().manual_seed(4))
    ]
    assert draws[0] == draws[1]
    assert len(set(draws[0])) > 1


def test_a_nucleus_leaves_the_unlikely_out() -> None:
    logits = torch.log(torch.tensor([0.6, 0.3, 0.06, 0.04]))
    generator = torch.Generator().manual_seed(0)
    assert {sample(logits, 1.0, 0.8, generator) for _ in range(200)} == {0, 1}


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-38, 1e-5])
def test_a_tiny_temperature_is_greedy(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    for logits in (
        torch.tensor([0.1, 3.0, 2.9]),
        torch.tensor([-2e4, -1e4, -3e4]),
        torch.tensor([-3.0, 4e4, -torch.inf]),
    ):
        assert {sample(logits, temperature, 1.0, generator) for _ in range(20)} == {1}


def test_a_tiny_temperature_chooses_among_equals() -> None:
    generator = torch.Generator().manual_seed(0)
    assert {sample(torch.tensor([3.0, 1.0, 3.0]), 1e-300, 1.0, generator) for _ in range(100)} == {0, 2}


@pytest.mark.parametrize("top_p", [5e-324, 1e-300, 1e-12])
def test_a_tiny_nucleus_holds_the_likeliest(top_p: float) -> None:
    generator = torch.Generator().manual_seed(0)
    assert {sample(torch.tensor([0.1, 3.0, 2.9]), 5.0, top_p, generator) for _ in range(20)} == {1}


def test_text_never_shows_half_a_character() -> None:
    tokenizer = byte_tokenizer()
    text = "grüße, 東京 🚲!"
    detokenizer = Detokenizer(tokenizer)
    pieces = [detokenizer.add(token) for token in tokenizer(text).input_ids]
    assert "".join(pieces) == text
    assert not any("�" in piece for piece in pieces)
    assert pieces.count("") > 5


def test_what_is_cut_off_inside_a_character_is_still_told_at_the_end() -> None:
    tokenizer = byte_tokenizer()
    detokenizer = Detokenizer(tokenizer)
    shown = "".join(detokenizer.add(token) for token in tokenizer("a東").input_ids[:-1])
    assert shown == "a"
    assert detokenizer.finish() == "�"
