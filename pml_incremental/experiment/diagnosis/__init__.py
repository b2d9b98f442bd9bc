"""Estimated against real prior models of a finished run."""
