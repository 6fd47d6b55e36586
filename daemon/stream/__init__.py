"""One frame's life."""
