"""A config as one level of names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flat_config(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every single value by its path; lists and empty mappings stay whole.

    Example:
        >>> flat_config({"seed": 0, "trainer": {"IncrementalMetricLoss": {"batch_size": 80}}})
        {'seed': 0, 'trainer.IncrementalMetricLoss.batch_size': 80}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flat_config(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
