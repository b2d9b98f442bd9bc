"""What the components check alike."""

from __future__ import annotations


def check_weight(name: str, weight: float) -> None:
    """Raise a ValueError if a loss's weight in the total is not at least 0."""
    if not weight >= 0:
        raise ValueError(f"the weight of {name} must be at least 0, got {weight}")
