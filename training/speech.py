"""How people ask loosely: with openings and endings, and small words added, left out or mixed up.

Applied to training questions at random. So the model learns to rely on the words that carry the meaning, and can read
phrasings that it never met.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

OPENINGS = (
    "please",
    "please tell me",
    "tell me",
    "can you tell me",
    "could you say",
    "can you see",
    "do you know",
    "i want to know",
    "i would like to know",
    "we would like to know",
    "hey",
    "hello",
    "hi",
    "ok",
    "and",
    "so",
    "just say",
    "think about it",
)
ENDINGS = ("please", "today", "then", "again", "in the picture", "in the video", "on camera", "by the way", "for me")
SMALL_WORDS = (
    "the a an this that these those is was are were be been being has have had do does did will would should could "
    "can may it its there here what which who when i you we they one some any my your our their of in on at by for "
    "from with to into about as like so just also ever still then even really actually maybe sort type thing things "
    "come came appear appeared carry carried wear bring see saw seen look looked show shows yard camera picture video"
)
CHANGEABLE = "the a an this that is was are did do does have has you it there in of at"  # none of them carries meaning
LOOSE_SHARE = 0.35


def loosen(text: str, rng: np.random.Generator) -> str:
    """Puts the question as someone might say it: sometimes with an opening, an ending, or small words changed."""
    if rng.random() > LOOSE_SHARE:
        return text
    words, mark = text.rstrip("?").split(), "?" if text.endswith("?") else ""
    draw = rng.random()
    if draw < 0.3:
        words[:0] = _pick(OPENINGS, rng).split()
    elif draw < 0.45:
        words += _pick(ENDINGS, rng).split()
    else:
        _change_small_word(words, rng)
        if draw < 0.7:
            _change_small_word(words, rng)
    return " ".join(words) + mark


def _change_small_word(words: list[str], rng: np.random.Generator) -> None:
    """Drops or replaces one of the small words, or adds another, in place. The words that carry the meaning stay."""
    small = [i for i, word in enumerate(words) if word in CHANGEABLE.split()]
    if not small:
        return
    i = small[int(rng.integers(len(small)))]
    draw = rng.random()
    if draw < 0.3:
        del words[i]
    elif draw < 0.6:
        words[i] = _pick(SMALL_WORDS.split(), rng)
    else:
        words.insert(i, _pick(SMALL_WORDS.split(), rng))


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
