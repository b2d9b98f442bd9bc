"""Weights and temperatures chosen on training images alone."""
