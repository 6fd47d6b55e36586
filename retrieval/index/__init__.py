"""The vectors of a stream's blocks, day by day."""
