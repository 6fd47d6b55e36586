"""Which blocks serve a question. Knows blocks, not frames."""
