"""Tests of a stream's parts."""
