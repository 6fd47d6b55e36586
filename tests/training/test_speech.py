"""Loosely put questions keep what they are about, and the vocabulary holds what is taught and nothing else."""

from __future__ import annotations

import re

import numpy as np

from longwatch.yard.asker import Asker
from longwatch.yard.kinds import QUESTION_KINDS
from longwatch.yard.moment import gated_moments
from longwatch.yard.phrases import HELD_OUT_WORDS, PHRASES
from longwatch.yard.scene import Scene
from longwatch.yard.state import COLOURS, KINDS, plural
from training.speech import loosen
from training.tokenizer import build, words

MEANING = re.compile(
    r"\d\d:\d\d:\d\d|\b(?:open|closed|on|off|first|last|left|took|brought|between|how many|"
    rf"{'|'.join((*COLOURS, *KINDS, *map(plural, KINDS), 'door', 'lamp', 'gate', 'sign'))})\b"
)


def test_a_loose_question_keeps_every_word_that_carries_its_meaning() -> None:
    rng, changed = np.random.default_rng(4), 0
    asker = Asker(gated_moments(Scene(seed=3, busy=0.5), 900), rng)
    for name, kind in QUESTION_KINDS.items():
        for _ in range(60):
            question = kind.draw(asker)
            if question is None or name == "unknown":
                continue
            loose = loosen(question.text, rng)
            changed += loose != question.text
            kept = MEANING.findall(loose.removesuffix(" on camera"))
            assert [w for w in kept if w != "on"] == [w for w in MEANING.findall(question.text) if w != "on"], loose
            if name.startswith("lamp"):
                assert ("on" in kept) == ("on" in MEANING.findall(question.text)), loose
    assert changed > 200


def test_every_word_of_every_phrasing_is_taught_and_no_held_out_word_is() -> None:
    taught = set(words())
    for phrases in PHRASES.values():
        for phrase in (*phrases.seen, *phrases.held_out):
            assert set(re.findall(r"[a-z']+", re.sub(r"{.*?}", " ", phrase))) <= taught
    assert not taught & set(HELD_OUT_WORDS.split())


def test_what_nobody_taught_is_one_unknown_token() -> None:
    tokenizer = build()
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("was the bagpipe open at 14:03:20?").input_ids)
    assert tokens == ["▁was", "▁the", "<unk>", "▁open", "▁at", "ᵃ1", "ᵇ4", "ᶜ0", "ᵈ3", "ᵉ2", "ᶠ0", "?"]
