"""Speak to a running daemon. Import daemon.protocol only, never torch."""

from .client import Client

__all__ = ["Client"]
