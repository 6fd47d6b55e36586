"""Frames from cameras, files and the rendered world."""
