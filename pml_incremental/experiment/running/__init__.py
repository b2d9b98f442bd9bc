"""The loop over tasks, its folder, and resuming after a stop."""
