"""Checks of arguments that several datasets take."""

from __future__ import annotations


def check_at_least(name: str, value: int, minimum: int) -> None:
    """Raise unless the argument is an integer and not too small."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")
