"""Owns time: frames in, answers out."""
