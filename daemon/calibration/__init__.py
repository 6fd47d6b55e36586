"""How a model's retrieval heads and its confidence are measured, and where that is kept."""
