"""Strategies and seeds side by side."""
