"""What a strategy with its options is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pml_incremental.config.objects import ObjectSpec
from pml_incremental.config.strategy_sums import is_sum


def spec_label(spec: ObjectSpec) -> str:
    """A strategy's name in tables and folders: its name and its options."""
    options = spec.kwargs
    if is_sum("strategy", spec.class_name):  # a part without options says no more than its name
        options = {part: of_part for part, of_part in options.items() if of_part}
    return "-".join([spec.class_name, *_words(options)])


def _words(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Options in words; those of a part of a sum begin with the part's name."""
    words = []
    for key, value in sorted(values.items()):
        if isinstance(value, dict):
            words += _words(value, f"{prefix}{key}.") if value else [f"{prefix}{key}"]
        else:
            words.append(f"{prefix}{key}_{value}")
    return words
