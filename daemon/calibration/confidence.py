"""`Confidence`: how likely an answer is right, judged by how sure the model was of its own words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec


class Confidence(msgspec.Struct, frozen=True):
    """A logistic curve over the mean log-probability of an answer's tokens, fitted to answers known right or wrong.

    On the embedded model nothing else predicts better: not the evidence's score or use, not the least sure token.
    """

    weight: float
    bias: float

    def of(self, log_probs: Sequence[float]) -> float:
        """The chance, 0 to 1, of an answer of at least one token."""
        return 1 / (1 + math.exp(-self.weight * sum(log_probs) / len(log_probs) - self.bias))


def confidence_of(log_probs: Sequence[float], fitted: Confidence | None) -> float | None:
    """How likely an answer is right, 0 to 1; None for an answer with no tokens.

    Without a fitted curve this is the geometric mean of its tokens' probabilities, which is uncalibrated: it orders
    answers, but says little about how many of them are right.
    """
    if not log_probs:
        return None
    return math.exp(sum(log_probs) / len(log_probs)) if fitted is None else fitted.of(log_probs)
