"""The loop over tasks, its folder, and going on after a stop."""
