"""One question's life."""
