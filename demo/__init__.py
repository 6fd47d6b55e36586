"""Shows what Longwatch does, on a rendered yard whose truth is known."""
