"""A block's keys and values to bytes and back, one way a file."""
