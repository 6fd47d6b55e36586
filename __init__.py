"""Watches a camera for as long as it is left running and answers questions about anything it saw."""

__version__ = "0.1.0"
