"""Tests of the rendered yard."""
