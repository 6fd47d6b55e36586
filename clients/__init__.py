"""Speak to a running daemon. Import daemon.protocol only, never torch."""
