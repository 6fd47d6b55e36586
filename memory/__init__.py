"""Keys and values, kept for ever. Knows no model, no camera and no socket."""
