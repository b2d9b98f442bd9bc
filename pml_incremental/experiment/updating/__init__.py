"""One incremental step, from a weights file to a weights file."""
