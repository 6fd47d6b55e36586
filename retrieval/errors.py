"""Retrieval's exceptions.

RetrievalError
├── CalibrationError   a calibration file is unreadable, or belongs to another model
├── UnfitIndexFile     an index file is damaged, or was made from other data
└── TimeSpanError      a question's time span is impossible
"""


class RetrievalError(Exception):
    """Any failure in retrieval."""


class CalibrationError(RetrievalError):
    """A calibration file is unreadable, or belongs to another model."""


class UnfitIndexFile(RetrievalError):
    """An index file is damaged, or was made from other data than the day's."""


class TimeSpanError(RetrievalError):
    """A time span ends before it begins, or names a time that no clock shows."""

    code = "question"
