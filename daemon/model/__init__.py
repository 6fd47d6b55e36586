"""The video language model: the only place that knows a model family."""
