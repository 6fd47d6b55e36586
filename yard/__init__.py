"""The rendered yard, its truth, and questions about it. Knows nothing of the rest of Longwatch."""
