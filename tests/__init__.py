"""Tests; every folder below holds those of the package folder of its name."""
