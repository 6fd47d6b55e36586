"""Retrieval's exceptions.

RetrievalError
├── CalibrationError   a calibration file is unreadable, or belongs to another model
└── TimeSpanError      a question's time span is impossible
"""


class RetrievalError(Exception):
    """Anything retrieval says no to."""


class CalibrationError(RetrievalError):
    """A calibration file is unreadable, or belongs to another model."""


class TimeSpanError(RetrievalError):
    """A time span ends before it begins, or names a time that no clock shows."""

    code = "question"
