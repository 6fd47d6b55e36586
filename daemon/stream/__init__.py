"""One frame's life: from the capture process's messages to blocks that can be found."""
