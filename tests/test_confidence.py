"""How sure an answer is: the curve, and what a real daemon tells."""

from __future__ import annotations

import math

import msgspec
import pytest

from longwatch.clients.report import confidence_line
from longwatch.daemon.calibration.calibration import find_calibration
from longwatch.daemon.calibration.confidence import Confidence, confidence_of
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.daemon.protocol import AnswerEnd

from .wire import answer_end


def end(confidence: float | None, text: str = "yes") -> AnswerEnd:
    return msgspec.structs.replace(answer_end("q", text), confidence=confidence)


def test_an_answer_of_surer_words_is_surer_however_many_they_are() -> None:
    curve = Confidence(weight=20.0, bias=3.0)
    assert curve.of([-0.01, -0.02]) > curve.of([-0.3, -0.2]) > curve.of([-1.0])
    assert curve.of([-0.1] * 9) == pytest.approx(curve.of([-0.1]))
    assert curve.of([-0.15]) == pytest.approx(0.5)


def test_without_a_fitted_curve_it_is_the_geometric_mean_of_the_tokens_probabilities() -> None:
    assert confidence_of([math.log(0.9), math.log(0.4)], None) == pytest.approx(0.6)
    assert confidence_of([], None) is None
    assert confidence_of([], Confidence(1.0, 0.0)) is None


def test_the_shipped_model_has_a_curve_that_rises() -> None:
    calibration = find_calibration("embedded", VideoLM.load(ModelConfig()).fingerprint)
    assert calibration is not None
    assert calibration.confidence is not None
    assert calibration.confidence.weight > 0
    assert calibration.confidence.of([0.0]) > 0.9


@pytest.mark.parametrize(
    ("confidence", "line"),
    [
        (0.97, "confidence 0.97"),
        (0.61, "confidence 0.61; not sure, look at the pictures"),
        (None, ""),
    ],
)
def test_a_doubtful_answer_says_so(confidence: float | None, line: str) -> None:
    assert confidence_line(end(confidence)) == line


def test_an_answer_that_says_it_does_not_know_has_no_number_beside_it() -> None:
    assert confidence_line(end(0.98, "i don't know")) == confidence_line(end(0.98, "I don't know.")) == ""
