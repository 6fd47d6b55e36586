"""The ways to choose blocks, one a file."""
