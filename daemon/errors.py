"""The daemon's exceptions."""


class DaemonError(Exception):
    """Anything the daemon says no to."""


class CaptureError(DaemonError):
    """A source cannot be read."""


class ModelError(DaemonError):
    """A model cannot be loaded or used."""
