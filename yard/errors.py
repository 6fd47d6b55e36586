"""The yard's exception."""


class YardError(Exception):
    """A scene's address is wrong, or a clip of it cannot be written."""
